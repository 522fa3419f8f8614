// TCB_VERSION: eight bytes, one security version number each, in an order that depends on the product line; and the
// product lines themselves. AMD 56860 rev 1.58, table 3; AMD 57230 (KDS) rev 1.05.
// SPDX-License-Identifier: Apache-2.0

import { snpError } from './errors.ts'

export type TcbPart = 'fmc' | 'bootLoader' | 'tee' | 'snp' | 'microcode'

/** Security version numbers by part; parts that a product line lacks are absent. */
export type Tcb = { readonly [P in TcbPart]?: number }

interface ProductLine {
    /** The part at each byte, lowest address first; null is reserved. */
    readonly tcb: readonly (TcbPart | null)[]
    /** CPUID family, and ranges of models, of report version 3 and later. */
    readonly family: number
    readonly models: readonly (readonly [from: number, to: number])[]
    /** How many bytes of CHIP_ID and of the certificate's hwID name the chip. */
    readonly chipIdSize: 8 | 64
    /** structVersion of its VEK certificates. */
    readonly structVersion: 0 | 1
}

const MILAN_TCB = ['bootLoader', 'tee', null, null, null, null, 'snp', 'microcode'] as const
const TURIN_TCB = ['fmc', 'bootLoader', 'tee', 'snp', null, null, null, 'microcode'] as const

/** By the name that AMD's certificates use. Bergamo and Siena are models of the line Genoa. */
export const PRODUCT_LINES = {
    Milan: { tcb: MILAN_TCB, family: 0x19, models: [[0x00, 0x0f]], chipIdSize: 64, structVersion: 0 },
    Genoa: {
        tcb: MILAN_TCB,
        family: 0x19,
        models: [
            [0x10, 0x1f],
            [0xa0, 0xaf],
        ],
        chipIdSize: 64,
        structVersion: 0,
    },
    Turin: { tcb: TURIN_TCB, family: 0x1a, models: [[0x00, 0x11]], chipIdSize: 8, structVersion: 1 },
} as const satisfies Record<string, ProductLine>

export type ProductLineName = keyof typeof PRODUCT_LINES

export const PRODUCT_LINE_NAMES = Object.keys(PRODUCT_LINES) as ProductLineName[]

export const isProductLine = (name: string): name is ProductLineName => Object.hasOwn(PRODUCT_LINES, name)

/** Whether a CPUID family and model are one of this line. */
export function isOfLine(name: ProductLineName, family: number, model: number): boolean {
    const line: ProductLine = PRODUCT_LINES[name]
    return line.family === family && line.models.some(([from, to]) => model >= from && model <= to)
}

/** The product line of a CPUID family and model. @throws AttestError ERR_SNP_PRODUCT_LINE */
export function productLineOf(family: number, model: number): ProductLineName {
    const found = PRODUCT_LINE_NAMES.find((name) => isOfLine(name, family, model))
    if (found) return found
    throw snpError(
        'ERR_SNP_PRODUCT_LINE',
        `no known product line has CPUID family 0x${family.toString(16)}, model 0x${model.toString(16)}: expected one of ${PRODUCT_LINE_NAMES.join(', ')}`,
    )
}

/** The parts of a TCB_VERSION. @throws AttestError ERR_SNP_FIELD where a reserved byte is not zero */
export function readTcb(line: ProductLineName, word: bigint, title: string): Tcb {
    const tcb: { -readonly [P in TcbPart]?: number } = {}
    const halves = [Number(word & 0xffffffffn), Number(word >> 32n)]
    for (const [index, part] of PRODUCT_LINES[line].tcb.entries()) {
        const value = ((halves[index >> 2] ?? 0) >>> (8 * (index & 3))) & 0xff
        if (part) tcb[part] = value
        else if (value !== 0)
            throw snpError('ERR_SNP_FIELD', `${title}: byte ${index} is reserved on ${line}, got ${value}`)
    }
    return tcb
}

/** The TCB_VERSION that has these parts. */
export function writeTcb(line: ProductLineName, tcb: Tcb): bigint {
    return PRODUCT_LINES[line].tcb.reduce(
        (word, part, index) => word | (BigInt((part && tcb[part]) ?? 0) << BigInt(8 * index)),
        0n,
    )
}

/** The parts of a product line, in the order of their bytes. */
export const tcbParts = (line: ProductLineName): TcbPart[] =>
    (PRODUCT_LINES[line] as ProductLine).tcb.filter((part) => part !== null)

/** The first part that is lower than a minimum; a TCB is compared part by part, never as one number. */
export const partBelow = (tcb: Tcb, minimum: Tcb): TcbPart | undefined =>
    (Object.keys(minimum) as TcbPart[]).find((part) => (tcb[part] ?? -1) < (minimum[part] ?? 0))

/** `bootLoader 4, tee 0, snp 22, microcode 213`. */
export const formatTcb = (tcb: Tcb): string =>
    Object.entries(tcb)
        .map(([part, svn]) => `${part} ${svn}`)
        .join(', ')
