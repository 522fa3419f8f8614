// Which processors, and which of the kernel's inputs, lead to a launch digest: what `measure … --match` tries.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '../errors.ts'
import { hashCmdline, type KernelHashes, NO_INITRD } from './kernel-hashes.ts'
import { type KernelValues, readKernel, readSignature, type VcpuValues } from './options.ts'
import { describeSignature, KNOWN_SIGNATURES } from './vcpu.ts'
import { applicationVmsa, bootVmsa, type ProfileName, profileRow, profilesOf, type VcpuState } from './vmsa.ts'

/** Most processors that a search tries. */
export const MOST_VCPUS = 512

/** The digest of a guest to which one processor after the other is added. */
export interface Walk {
    add(page: Buffer): void
    is(wanted: Buffer): boolean
}

export interface Fit {
    readonly inputs: Readonly<Record<string, string | number>>
    readonly differs: readonly string[]
}

/** Hashes that a host may have measured where these inputs were meant. */
export interface KernelVariant {
    readonly hashes: KernelHashes | null
    readonly differs: readonly string[]
    readonly inputs: Readonly<Record<string, string>>
}

/** What was given first. @throws AttestError ERR_USAGE */
export function kernelVariants(values: KernelValues): KernelVariant[] {
    const hashes = readKernel(values)
    if (!hashes) return [{ hashes, differs: [], inputs: {} }]
    const { append, initrd } = values
    const variant = (name: string, value: string, changed: KernelHashes | null): KernelVariant => ({
        hashes: changed,
        differs: [name],
        inputs: { [name]: value },
    })
    const variants = [{ hashes, differs: [], inputs: {} }, variant('kernel', 'not measured (kernel-hashes=off)', null)]
    if (initrd) variants.push(variant('initrd', 'none', { ...hashes, initrd: NO_INITRD }))
    if (append) {
        variants.push(variant('append', 'none', { ...hashes, cmdline: hashCmdline('') }))
        const others = [append.trim(), `${append} `, ` ${append}`, `${append}\n`].filter((line) => line !== append)
        for (const line of new Set(others))
            variants.push(variant('append', JSON.stringify(line), { ...hashes, cmdline: hashCmdline(line) }))
    }
    return variants
}

/** @throws AttestError ERR_USAGE */
export function refuseVmsa({ vmsa = [] }: VcpuValues): void {
    if (vmsa.length > 0)
        throw coreError('ERR_USAGE', '--match searches the processors: --vmsa leaves nothing to search')
}

/** States in which processors may have started, of hosts of these profiles with these features; what was given first. */
export function vcpuStates(
    values: VcpuValues,
    profiles: readonly ProfileName[],
    features: readonly bigint[],
): VcpuState[] {
    const given = readSignature(values)
    const signatures = given === null ? KNOWN_SIGNATURES : [given, ...KNOWN_SIGNATURES.filter((word) => word !== given)]
    return profiles.flatMap((profile) =>
        // Where the profile writes one of its own, the others lead to the same page.
        (profileRow(profile).rdx === undefined ? signatures : signatures.slice(0, 1)).flatMap((signature) =>
            features.map((word) => ({ profile, signature, features: word })),
        ),
    )
}

/** Adds processors in each of the states, and tells of each count that fits. */
export function searchVcpus(
    states: readonly VcpuState[],
    { reset, start, wanted, most = MOST_VCPUS }: { reset: number; start: () => Walk; wanted: Buffer; most?: number },
    fits: (state: VcpuState, count: number) => void,
): void {
    for (const state of states) {
        const walk = start()
        walk.add(bootVmsa(state))
        const application = applicationVmsa(state, reset)
        for (let count = 1; ; count++) {
            if (walk.is(wanted)) fits(state, count)
            if (count === most) break
            walk.add(application)
        }
    }
}

/** A fit as it is told, and in what it differs from what the caller said. */
export function fitOf(values: VcpuValues, { profile, signature, features }: VcpuState, count: number): Fit {
    const row = profileRow(profile)
    const hasOthers = profilesOf(row.vmm).length > 1
    const given = readSignature(values)
    const differs = {
        vcpus: values.vcpus !== undefined && values.vcpus !== count,
        vcpuSig: given !== null && row.rdx === undefined && given !== signature,
        vmm: values.vmm !== row.vmm,
        profile: hasOthers && values.profile !== undefined && values.profile !== profile,
        guestFeatures: values.guestFeatures !== undefined && values.guestFeatures !== features,
    }
    return {
        inputs: {
            vcpus: count,
            ...(row.rdx === undefined
                ? { vcpuSig: `0x${signature.toString(16)}`, processor: describeSignature(signature) }
                : {}),
            vmm: row.vmm,
            ...(hasOthers ? { profile } : {}),
            guestFeatures: `0x${features.toString(16)}`,
        },
        differs: Object.entries(differs)
            .filter(([, isOther]) => isOther)
            .map(([name]) => name),
    }
}

/** The nearest first. */
export const nearestFirst = (fits: readonly Fit[]): Fit[] =>
    fits.toSorted((a, b) => a.differs.length - b.differs.length)
