// What the emulator makes of each generation: figures of real machines (reports seen in 2025 and 2026), one row each.
// SPDX-License-Identifier: Apache-2.0

import type { ProductLineName, Tcb } from './tcb.ts'

export interface Generation {
    readonly line: ProductLineName
    /** productName of the VCEK. */
    readonly productName: string
    /** Serial number of the root; the intermediate has the next one. */
    readonly serial: number
    readonly reportVersion: 3 | 5
    readonly cpuid: { readonly family: number; readonly model: number; readonly stepping: number }
    readonly firmware: { readonly major: number; readonly minor: number; readonly build: number }
    readonly tcb: Tcb
    readonly platformInfo: bigint
    /** LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR; report version 5. */
    readonly mitigations: bigint
}

/** By the value of `--generation`. */
export const GENERATIONS = {
    milan: {
        line: 'Milan',
        productName: 'Milan-B0',
        serial: 0x10000,
        reportVersion: 3,
        cpuid: { family: 0x19, model: 0x01, stepping: 1 },
        firmware: { major: 1, minor: 55, build: 29 },
        tcb: { bootLoader: 4, tee: 0, snp: 24, microcode: 219 },
        platformInfo: 0x25n,
        mitigations: 0n,
    },
    genoa: {
        line: 'Genoa',
        productName: 'Genoa',
        serial: 0x20000,
        reportVersion: 5,
        cpuid: { family: 0x19, model: 0xa0, stepping: 2 },
        firmware: { major: 1, minor: 55, build: 49 },
        tcb: { bootLoader: 10, tee: 0, snp: 27, microcode: 27 },
        platformInfo: 0x25n,
        mitigations: 11n,
    },
    turin: {
        line: 'Turin',
        productName: 'Turin',
        serial: 0x30000,
        reportVersion: 5,
        cpuid: { family: 0x1a, model: 0x02, stepping: 1 },
        firmware: { major: 1, minor: 55, build: 65 },
        tcb: { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 },
        platformInfo: 0x65n,
        mitigations: 63n,
    },
} as const satisfies Record<string, Generation>

export type GenerationName = keyof typeof GENERATIONS

export const isGeneration = (name: string): name is GenerationName => Object.hasOwn(GENERATIONS, name)
