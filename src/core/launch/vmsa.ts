// The state in which a guest's processors start, one encrypted and measured page each: VMSA of SEV-ES and SEV-SNP. AMD APM
// volume 2 (24593), table B-4; the values are those that QEMU and KVM, EC2 and GCE write. Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { layout, struct, u8, u16, u32, u64, zero } from '../layout.ts'
import { launchError } from './errors.ts'
import { PAGE_SIZE } from './ovmf.ts'
import { describeSignature } from './vcpu.ts'

const SEGMENT = layout('vmcb_seg', 16, { selector: u16(0), attributes: u16(2), limit: u32(4), base: u64(8) })

export const VMSA = layout('VMSA', PAGE_SIZE, {
    es: struct(0x000, SEGMENT),
    cs: struct(0x010, SEGMENT),
    ss: struct(0x020, SEGMENT),
    ds: struct(0x030, SEGMENT),
    fs: struct(0x040, SEGMENT),
    gs: struct(0x050, SEGMENT),
    gdtr: struct(0x060, SEGMENT),
    ldtr: struct(0x070, SEGMENT),
    idtr: struct(0x080, SEGMENT),
    tr: struct(0x090, SEGMENT),
    zero0a0: zero(0x0a0, 0x02a),
    vmpl: u8(0x0ca),
    cpl: u8(0x0cb),
    zero0cc: zero(0x0cc, 0x004),
    efer: u64(0x0d0),
    zero0d8: zero(0x0d8, 0x070),
    cr4: u64(0x148),
    cr3: u64(0x150),
    cr0: u64(0x158),
    dr7: u64(0x160),
    dr6: u64(0x168),
    rflags: u64(0x170),
    rip: u64(0x178),
    zero180: zero(0x180, 0x0e8),
    gPat: u64(0x268),
    zero270: zero(0x270, 0x0a0),
    rdx: u64(0x310),
    zero318: zero(0x318, 0x098),
    sevFeatures: u64(0x3b0),
    zero3b8: zero(0x3b8, 0x030),
    xcr0: u64(0x3e8),
    zero3f0: zero(0x3f0, 0x018),
    mxcsr: u32(0x408),
    zero40c: zero(0x40c, 0x004),
    x87Fcw: u16(0x410),
    zero412: zero(0x412, 0xbee),
})

/** SEV_FEATURES. AMD APM volume 2, table B-4. */
export const SEV_FEATURES = {
    snpActive: { bits: 0, means: 'a guest of SEV-SNP' },
    vTom: { bits: 1, means: 'virtual top of memory' },
    reflectVc: { bits: 2, means: '#VC is reflected to a more privileged level' },
    restrictedInjection: { bits: 3, means: 'the host injects #HV alone' },
    alternateInjection: { bits: 4, means: 'interrupts are injected through the guest' },
    debugSwap: { bits: 5, means: 'debug registers are swapped' },
    preventHostIbs: { bits: 6, means: 'no instruction based sampling by the host' },
    btbIsolation: { bits: 7, means: 'branch targets are isolated' },
    vmplSss: { bits: 8, means: 'shadow stacks by privilege level' },
    secureTsc: { bits: 9, means: 'a time stamp counter that the host does not set' },
    vmgexitParameter: { bits: 10, means: 'VMGEXIT takes a parameter' },
    ibsVirtualization: { bits: 12, means: 'virtual instruction based sampling' },
    vmsaRegisterProtection: { bits: 14, means: 'registers of the VMSA are protected' },
    smtProtection: { bits: 15, means: 'no sibling thread runs beside the guest' },
} as const

export const SNP_ACTIVE = 1n << BigInt(SEV_FEATURES.snpActive.bits)
export const DEBUG_SWAP = 1n << BigInt(SEV_FEATURES.debugSwap.bits)

/** Who starts guests, each with the profile that is meant where none is named. */
export const VMMS = { QEMU: 'kvm-init2', ec2: 'ec2', gce: 'gce' } as const

export type Vmm = keyof typeof VMMS

/** How a host prepares the state, by the name of the interface or of the cloud. */
export interface ProfileRow {
    readonly vmm: Vmm
    readonly means: string
    readonly mxcsr: number
    readonly x87Fcw: number
    /** Features that the host's kernel turns on by itself, for a guest that is not SNP. */
    readonly features?: bigint
    /** Attributes of segments, where they are not those that KVM writes. */
    readonly attributes?: { readonly csBoot: number; readonly ss: number; readonly tr: number }
    readonly gPat?: bigint
    /** Clouds write this instead of the processor's signature. */
    readonly rdx?: number
}

export const PROFILES = {
    'kvm-legacy': {
        vmm: 'QEMU',
        means: 'KVM_SEV_ES_INIT: QEMU up to 8.2, and later ones with legacy-vm-type=auto where SEV-ES is plain',
        mxcsr: 0,
        x87Fcw: 0,
    },
    'kvm-legacy+debugswap': {
        vmm: 'QEMU',
        means: 'the same on Linux 6.6 to 6.8, where kvm_amd turns debug_swap on by itself',
        mxcsr: 0,
        x87Fcw: 0,
        features: DEBUG_SWAP,
    },
    'kvm-init2': {
        vmm: 'QEMU',
        means: 'KVM_SEV_INIT2: Linux from 6.10, and every SNP guest',
        mxcsr: 0x1f80,
        x87Fcw: 0x37f,
    },
    ec2: {
        vmm: 'ec2',
        means: 'Amazon EC2',
        mxcsr: 0,
        x87Fcw: 0,
        attributes: { csBoot: 0x9a, ss: 0x92, tr: 0x83 },
        rdx: 0x600,
    },
    gce: { vmm: 'gce', means: 'Google Compute Engine', mxcsr: 0, x87Fcw: 0, gPat: 0x0007_0106n, rdx: 0x600 },
} as const satisfies Readonly<Record<string, ProfileRow>>

export type ProfileName = keyof typeof PROFILES

/** What the profile writes. */
export const profileRow = (name: ProfileName): ProfileRow => PROFILES[name]

export const profilesOf = (vmm: Vmm): ProfileName[] =>
    (Object.keys(PROFILES) as ProfileName[]).filter((name) => PROFILES[name].vmm === vmm)

/** @throws AttestError ERR_VCPU */
export function profileName(name: string): ProfileName {
    if (Object.hasOwn(PROFILES, name)) return name as ProfileName
    throw launchError(
        'ERR_VCPU',
        `${JSON.stringify(name)} is no profile: expected one of ${Object.keys(PROFILES).join(', ')}`,
    )
}

export interface VcpuState {
    readonly profile: ProfileName
    /** RDX: CPUID Fn0000_0001 EAX. */
    readonly signature: number
    /** SEV_FEATURES. */
    readonly features: bigint
}

/** As hosts of the profile prepare a processor: with the features that are asked for, and those that they turn on. */
export const stateOf = (profile: ProfileName, signature: number, features = 0n): VcpuState => ({
    profile,
    signature,
    features: features | (profileRow(profile).features ?? 0n),
})

/** Where the first processor starts. */
const BOOT_ADDRESS = 0xffff_fff0

/** The page of the first processor, and that of each other one, which starts where the firmware says. */
export const bootVmsa = (state: VcpuState): Buffer => page(state, BOOT_ADDRESS)
export const applicationVmsa = (state: VcpuState, resetAddress: number): Buffer => page(state, resetAddress)

/** The pages of a guest’s processors in their order: that of the first, and that of each other one. */
export const vmsaPages = (state: VcpuState, resetAddress: number, count: number): Buffer[] =>
    repeated(bootVmsa(state), applicationVmsa(state, resetAddress), count)

/** The same of pages that somebody else made. @throws AttestError ERR_VMSA */
export function repeated(first: Buffer, other: Buffer | undefined, count: number): Buffer[] {
    if (count === 1) return [first]
    if (!other) throw launchError('ERR_VMSA', `${count} processors: the page of all but the first is missing`)
    return [first, ...Array.from({ length: count - 1 }, () => other)]
}

function page({ profile, signature, features }: VcpuState, address: number): Buffer {
    const row = profileRow(profile)
    const { csBoot = 0x9b, ss = 0x93, tr = 0x8b } = row.attributes ?? {}
    const segment = (attributes: number, selector = 0, base = 0n) => ({ selector, attributes, limit: 0xffff, base })
    const data = segment(0x93)
    return VMSA.encode({
        es: data,
        cs: segment(address === BOOT_ADDRESS ? csBoot : 0x9b, 0xf000, BigInt(address & 0xffff_0000) & 0xffff_0000n),
        ss: segment(ss),
        ds: data,
        fs: data,
        gs: data,
        gdtr: segment(0),
        ldtr: segment(0x82),
        idtr: segment(0),
        tr: segment(tr),
        vmpl: 0,
        cpl: 0,
        efer: 0x1000n, // SVME
        cr4: 0x40n, // MCE
        cr3: 0n,
        cr0: 0x10n, // ET
        dr7: 0x400n,
        dr6: 0xffff_0ff0n,
        rflags: 2n,
        rip: BigInt(address & 0xffff),
        gPat: row.gPat ?? 0x0007_0406_0007_0406n,
        rdx: BigInt(row.rdx ?? signature),
        sevFeatures: features,
        xcr0: 1n,
        mxcsr: row.mxcsr,
        x87Fcw: row.x87Fcw,
    })
}

/** A page that somebody else made. @throws AttestError ERR_VMSA */
export function wantVmsa(bytes: Buffer, title: string): Buffer {
    if (bytes.length === PAGE_SIZE) return bytes
    throw launchError('ERR_VMSA', `${title}: a VMSA has ${PAGE_SIZE} bytes, got ${bytes.length}`)
}

/** For a person: `kvm-init2 (…), family 25, model 1, stepping 1 (EPYC-Milan), SEV_FEATURES 0x1`. */
export function describeState({ profile, signature, features }: VcpuState): string {
    const { means, rdx } = profileRow(profile)
    const processor = rdx === undefined ? `, ${describeSignature(signature)}` : ''
    return `${profile} (${means})${processor}, SEV_FEATURES 0x${features.toString(16)}`
}
