// An OVMF image as small as can be, with what of its tables a test wants.
// SPDX-License-Identifier: Apache-2.0

import { guidBytes } from '#core/guid.ts'
import { FOOTER_GUIDS, SECTION_TYPES, type SectionType } from '#core/launch/ovmf.ts'
import { FOOTER_GUID } from '#core/ovmf-table.ts'

export type Entry = readonly [guid: string, data: Buffer]
export type SectionRow = readonly [type: SectionType | number, base: number, size: number]

export const words = (...values: readonly number[]): Buffer => {
    const out = Buffer.alloc(4 * values.length)
    for (const [i, value] of values.entries()) out.writeUInt32LE(value, 4 * i)
    return out
}

const half = (value: number): Buffer => words(value).subarray(0, 2)

export const footerEntry = ([guid, data]: Entry): Buffer =>
    Buffer.concat([data, half(data.length + 18), guidBytes(guid)])

/** Sections that a firmware for measured direct boot has. */
export const SECTIONS: readonly SectionRow[] = [
    ['SEC_MEM', 0x800000, 0x3000],
    ['SECRETS', 0x80d000, 0x1000],
    ['CPUID', 0x80e000, 0x1000],
    ['SEC_MEM', 0x811000, 0x2000],
    ['KERNEL_HASHES', 0x810000, 0x1000],
]

const TYPE_NUMBERS = new Map(Object.entries(SECTION_TYPES).map(([number, name]) => [name as string, Number(number)]))

export interface FirmwareParts {
    readonly size?: number
    readonly sections?: readonly SectionRow[] | null
    readonly version?: number
    readonly hashArea?: readonly [base: number, size: number]
    readonly reset?: number
    /** Beside those that the parts above come to. */
    readonly entries?: readonly Entry[]
    /** Instead of the length of the whole table. */
    readonly tableLength?: number
}

export function firmware(parts: FirmwareParts = {}): Buffer {
    const { size = 0x4000, sections = SECTIONS, version = 1, hashArea = [0x810c00, 0x400], reset = 0x80b004 } = parts
    const image = Buffer.alloc(size, 0x5a)
    const metadataBack = 0x800
    if (sections) {
        const rows = sections.map(([type, base, bytes]) =>
            words(base, bytes, typeof type === 'number' ? type : (TYPE_NUMBERS.get(type) ?? 0)),
        )
        const header = Buffer.concat([Buffer.from('ASEV'), words(16 + 12 * rows.length, version, rows.length)])
        image.set(Buffer.concat([header, ...rows]), size - metadataBack)
    }
    const entries: Entry[] = [
        ...(parts.entries ?? []),
        [FOOTER_GUIDS.hashArea, words(...hashArea)],
        [FOOTER_GUIDS.resetBlock, words(reset)],
        ...(sections ? [[FOOTER_GUIDS.sevMetadata, words(metadataBack)] as const] : []),
    ]
    const table = Buffer.concat(entries.map(footerEntry))
    const footer = Buffer.concat([half(parts.tableLength ?? table.length + 18), guidBytes(FOOTER_GUID)])
    image.set(Buffer.concat([table, footer]), size - 32 - table.length - footer.length)
    return image
}
