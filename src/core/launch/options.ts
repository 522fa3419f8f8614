// The options that calculators of SEV's launch digests share, and what they come to: the hashes of a kernel, and the pages
// of initial processor state.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '../errors.ts'
import { launchError } from './errors.ts'
import { hashCmdline, type KernelHashes, NO_INITRD } from './kernel-hashes.ts'
import { type Firmware, resetAddress } from './ovmf.ts'
import { signature, typeSignature } from './vcpu.ts'
import {
    type ProfileName,
    profileName,
    profileRow,
    profilesOf,
    repeated,
    stateOf,
    type VcpuState,
    VMMS,
    type Vmm,
    vmsaPages,
    wantVmsa,
} from './vmsa.ts'

interface Hashed {
    readonly sha256: Buffer
}

interface Named {
    readonly name: string
    readonly bytes: Buffer
}

export const KERNEL_OPTIONS = {
    kernel: { type: 'hashed', describe: 'the kernel of QEMU’s -kernel, whose hashes are measured (kernel-hashes=on)' },
    initrd: { type: 'hashed', describe: 'the initrd of -initrd' },
    append: { type: 'text', describe: 'the command line of -append, taken as it is' },
} as const

export interface KernelValues {
    readonly kernel?: Hashed
    readonly initrd?: Hashed
    readonly append?: string
}

/** Null: no hashes are measured. @throws AttestError ERR_USAGE */
export function readKernel({ kernel, initrd, append }: KernelValues): KernelHashes | null {
    if (kernel)
        return { kernel: kernel.sha256, initrd: initrd?.sha256 ?? NO_INITRD, cmdline: hashCmdline(append ?? '') }
    const stray = Object.entries({ initrd, append }).find(([, value]) => value !== undefined)
    if (stray) throw coreError('ERR_USAGE', `--${stray[0]} is nothing without --kernel`)
    return null
}

/** How QEMU’s KVM has prepared processors. */
export const KVM_PROFILES = profilesOf('QEMU')

export const VCPU_OPTIONS = {
    vcpus: { type: 'number', describe: 'how many processors the guest has [1]' },
    vcpuType: { type: 'text', describe: 'their type, as QEMU calls it: EPYC-Milan, EPYC-Genoa-v1 …' },
    vcpuSig: { type: 'word', describe: 'or their signature in hex: CPUID(1).EAX' },
    cpuFamily: { type: 'number', describe: 'or their family …' },
    cpuModel: { type: 'number', describe: '… their model …' },
    cpuStepping: { type: 'number', describe: '… and their stepping' },
    vmm: { type: 'choice', choices: Object.keys(VMMS), describe: 'who starts the guest' },
    guestFeatures: { type: 'word', describe: 'SEV_FEATURES in hex' },
    profile: {
        type: 'text',
        describe: `how QEMU’s KVM prepares the processors: ${KVM_PROFILES.join(', ')} [${VMMS.QEMU}]`,
    },
    vmsa: {
        type: 'files',
        describe:
            'the page of initial state of the first processor instead, and again that of each other one (or one for each of them)',
    },
    dumpVmsa: { type: 'text', describe: 'a folder that the pages are written to: vmsa0.bin, vmsa1.bin …' },
} as const

/** What the processors are, said in one of three ways. */
export interface SignatureValues {
    readonly vcpuType?: string | undefined
    readonly vcpuSig?: bigint | undefined
    readonly cpuFamily?: number | undefined
    readonly cpuModel?: number | undefined
    readonly cpuStepping?: number | undefined
}

export interface VcpuValues extends SignatureValues {
    readonly vcpus?: number
    readonly vmm: string
    readonly guestFeatures?: bigint
    readonly profile?: string
    readonly vmsa?: readonly Named[]
}

/** KVM's own limit is 4096. */
export const MAX_VCPUS = 4096

/** The pages, one for each processor in their order. */
export interface Vcpus {
    readonly pages: readonly Buffer[]
    /** Null where the pages were given. */
    readonly state: VcpuState | null
}

/**
 * @param defaultFeatures what SEV_FEATURES are where neither the option nor the profile says
 * @throws AttestError ERR_USAGE, ERR_VCPU, ERR_VMSA, ERR_FIRMWARE, ERR_FIRMWARE_LACKS
 */
export function readVcpus(values: VcpuValues, firmware: Firmware, defaultFeatures: bigint): Vcpus {
    const { vmsa = [] } = values
    const count = wantCount(values.vcpus ?? (vmsa.length || 1), '--vcpus')
    if (vmsa.length > 0) return { pages: givenPages(values, vmsa, count), state: null }
    const state = readState(values, defaultFeatures)
    return { pages: vmsaPages(state, resetAddress(firmware), count), state }
}

/** @throws AttestError ERR_USAGE */
export function wantCount(count: number, option: string): number {
    if (count >= 1 && count <= MAX_VCPUS) return count
    throw coreError('ERR_USAGE', `${option} ${count}: expected 1 to ${MAX_VCPUS} processors`)
}

function givenPages(values: VcpuValues, files: readonly Named[], count: number): Buffer[] {
    for (const option of ['vcpuType', 'vcpuSig', 'cpuFamily', 'guestFeatures', 'profile'] as const)
        if (values[option] !== undefined)
            throw coreError('ERR_USAGE', '--vmsa says all of the processors: no other option may, but --vcpus')
    const pages = files.map(({ name, bytes }) => wantVmsa(bytes, name))
    if (pages.length === count) return pages
    const [first, other] = pages
    if (pages.length === 2 && first && count > 2) return repeated(first, other, count)
    throw launchError('ERR_VMSA', `${pages.length} pages for ${count} processors: expected two, or one for each`)
}

function readState(values: VcpuValues, defaultFeatures: bigint): VcpuState {
    const { vmm, guestFeatures } = values
    const profile = profileName(values.profile ?? VMMS[vmm as Vmm])
    const owner = profileRow(profile).vmm
    if (owner !== vmm) throw coreError('ERR_USAGE', `--profile ${profile} is for --vmm ${owner}, not for ${vmm}`)
    const state = stateOf(profile, wantSignature(values, profile), defaultFeatures)
    return guestFeatures === undefined ? state : { ...state, features: guestFeatures }
}

/** Null: nothing is said of it. @throws AttestError ERR_USAGE, ERR_VCPU */
export function readSignature({ vcpuType, vcpuSig, cpuFamily, cpuModel, cpuStepping }: SignatureValues): number | null {
    const parts = [cpuFamily, cpuModel, cpuStepping].filter((part) => part !== undefined)
    const given = [vcpuType, vcpuSig, parts.length > 0 ? parts : undefined].filter((value) => value !== undefined)
    if (given.length > 1)
        throw coreError('ERR_USAGE', 'say once what the processors are: --vcpu-type, --vcpu-sig, or --cpu-family …')
    if (vcpuType !== undefined) return typeSignature(vcpuType)
    if (vcpuSig !== undefined) {
        if (vcpuSig > 0xffff_ffffn) throw launchError('ERR_VCPU', '--vcpu-sig: a signature has 32 bits')
        return Number(vcpuSig)
    }
    if (cpuFamily !== undefined && cpuModel !== undefined && cpuStepping !== undefined)
        return signature({ family: cpuFamily, model: cpuModel, stepping: cpuStepping })
    if (parts.length > 0) throw coreError('ERR_USAGE', '--cpu-family, --cpu-model and --cpu-stepping stand together')
    return null
}

function wantSignature(values: VcpuValues, profile: ProfileName): number {
    // What clouds write is the same for every processor.
    const word = readSignature(values) ?? profileRow(profile).rdx
    if (word !== undefined) return word
    throw coreError('ERR_USAGE', 'say what the processors are: --vcpu-type, --vcpu-sig, or --cpu-family …', {
        hint: 'QEMU’s -cpu names the type; under -cpu host it is the chip’s own signature, CPUID(1).EAX',
    })
}

/** What `--dump-vmsa` writes. */
export const vmsaFiles = (folder: string | undefined, pages: readonly Buffer[]) =>
    folder === undefined ? [] : pages.map((bytes, index) => ({ path: `${folder}/vmsa${index}.bin`, bytes }))
