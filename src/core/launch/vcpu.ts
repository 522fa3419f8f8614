// The virtual processors that hypervisors offer: what a guest's initial RDX says of each. The names are QEMU's (target/
// i386/cpu.c); a version of a model changes features alone, never its family, model or stepping.
// SPDX-License-Identifier: Apache-2.0

import { launchError } from './errors.ts'

export interface VcpuModel {
    readonly family: number
    readonly model: number
    readonly stepping: number
}

const NAPLES = { family: 23, model: 1, stepping: 2 } as const
const ROME = { family: 23, model: 49, stepping: 0 } as const
const MILAN = { family: 25, model: 1, stepping: 1 } as const
const GENOA = { family: 25, model: 17, stepping: 0 } as const
const TURIN = { family: 26, model: 0, stepping: 0 } as const

export const VCPU_TYPES = {
    EPYC: NAPLES,
    'EPYC-v1': NAPLES,
    'EPYC-v2': NAPLES,
    'EPYC-v3': NAPLES,
    'EPYC-v4': NAPLES,
    'EPYC-IBPB': NAPLES,
    'EPYC-Rome': ROME,
    'EPYC-Rome-v1': ROME,
    'EPYC-Rome-v2': ROME,
    'EPYC-Rome-v3': ROME,
    'EPYC-Rome-v4': ROME,
    'EPYC-Milan': MILAN,
    'EPYC-Milan-v1': MILAN,
    'EPYC-Milan-v2': MILAN,
    'EPYC-Genoa': GENOA,
    'EPYC-Genoa-v1': GENOA,
    'EPYC-Turin': TURIN,
    'EPYC-Turin-v1': TURIN,
} as const satisfies Readonly<Record<string, VcpuModel>>

export type VcpuType = keyof typeof VCPU_TYPES

/** Chips as they report themselves to a guest under `-cpu host`, by family and model, with their steppings. */
const CHIPS = [
    [23, 1, [2]],
    [23, 49, [0, 2]],
    [25, 1, [0, 1, 2]],
    [25, 17, [0, 1, 2]],
    [25, 160, [0, 1, 2]],
    [26, 0, [0]],
    [26, 2, [0, 1]],
    [26, 17, [0]],
] as const

/** @throws AttestError ERR_VCPU */
export function typeSignature(type: string): number {
    if (Object.hasOwn(VCPU_TYPES, type)) return signature(VCPU_TYPES[type as VcpuType])
    throw launchError('ERR_VCPU', `${JSON.stringify(type)} is no type of processor: expected one of ${names()}`, {
        hint: 'name another by --vcpu-sig, or by --cpu-family, --cpu-model and --cpu-stepping',
    })
}

const names = (): string => Object.keys(VCPU_TYPES).join(', ')

/** CPUID Fn0000_0001 EAX. AMD APM volume 3, appendix E. @throws AttestError ERR_VCPU */
export function signature({ family, model, stepping }: VcpuModel): number {
    for (const [name, value, most] of [
        ['family', family, 0xf + 0xff],
        ['model', model, 0xff],
        ['stepping', stepping, 0xf],
    ] as const)
        if (!Number.isInteger(value) || value < 0 || value > most)
            throw launchError('ERR_VCPU', `${name} ${value} of a processor: expected 0 to ${most}`)
    const [base, extended] = family > 0xf ? [0xf, family - 0xf] : [family, 0]
    return ((extended << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 0xf) << 4) | stepping) >>> 0
}

/** Signatures that a search tries: QEMU's types, and the chips themselves. */
export const KNOWN_SIGNATURES: readonly number[] = CHIPS.flatMap(([family, model, steppings]) =>
    steppings.map((stepping) => signature({ family, model, stepping })),
)

/** The inverse: `family 25, model 1, stepping 1 (EPYC-Milan)`. */
export function describeSignature(word: number): string {
    const base = (word >> 8) & 0xf
    const family = base === 0xf ? base + ((word >> 20) & 0xff) : base
    const model = ((word >> 12) & 0xf0) | ((word >> 4) & 0xf)
    const type = Object.keys(VCPU_TYPES).find((name) => typeSignature(name) === word)
    return `family ${family}, model ${model}, stepping ${word & 0xf}${type ? ` (${type})` : ''}`
}
