// ATTESTATION_REPORT of SEV-SNP. AMD 56860 (SEV-SNP Firmware ABI) rev 1.58, tables 22 and 23; version 6 as rev 1.59
// documents it. Little-endian. Versions 2, 3, 5 and 6; any other is refused by its number.
// SPDX-License-Identifier: Apache-2.0

import { bitTable } from '#core/bits.ts'
import { bytes, type Layout, layout, type Parsed, struct, u8, u32, u64, zero } from '#core/layout.ts'
import { snpError } from './errors.ts'

export const REPORT_SIZE = 0x4a0

/** The bytes that the firmware signs: from the start up to the signature. */
export const SIGNED_SIZE = 0x2a0

/** SIGNATURE_ALGO: ECDSA on P-384 with SHA-384. */
export const ECDSA_P384_SHA384 = 1

/** The least privileged of a guest's levels (VMPL). */
export const MAX_VMPL = 3

/** VMPL of a report that the host asked for: it says nothing that the guest wanted to say. */
export const HOST_VMPL = 0xffffffff

/** A firmware version: build, minor, major, one byte each. */
const FIRMWARE_VERSION = layout('VERSION', 4, { build: u8(0), minor: u8(1), major: u8(2), reserved: zero(3, 1) })

// What every version has in common, up to the signature and with it.
const COMMON = {
    version: u32(0x000),
    guestSvn: u32(0x004),
    policy: u64(0x008),
    familyId: bytes(0x010, 16),
    imageId: bytes(0x020, 16),
    vmpl: u32(0x030),
    signatureAlgo: u32(0x034),
    currentTcb: u64(0x038),
    platformInfo: u64(0x040),
    keyInfo: u32(0x048),
    reserved04c: zero(0x04c, 4),
    reportData: bytes(0x050, 64),
    measurement: bytes(0x090, 48),
    hostData: bytes(0x0c0, 32),
    idKeyDigest: bytes(0x0e0, 48),
    authorKeyDigest: bytes(0x110, 48),
    reportId: bytes(0x140, 32),
    reportIdMa: bytes(0x160, 32),
    reportedTcb: u64(0x180),
    chipId: bytes(0x1a0, 64),
    committedTcb: u64(0x1e0),
    currentVersion: struct(0x1e8, FIRMWARE_VERSION),
    committedVersion: struct(0x1ec, FIRMWARE_VERSION),
    launchTcb: u64(0x1f0),
    signatureR: bytes(0x2a0, 72),
    signatureS: bytes(0x2e8, 72),
    reserved330: zero(0x330, 0x170),
} as const

const CPUID = {
    cpuidFamily: u8(0x188),
    cpuidModel: u8(0x189),
    cpuidStepping: u8(0x18a),
    reserved18b: zero(0x18b, 21),
} as const

const MITIGATION = { launchMitVector: u64(0x1f8), currentMitVector: u64(0x200) } as const

const V2 = layout('ATTESTATION_REPORT v2', REPORT_SIZE, {
    ...COMMON,
    reserved188: zero(0x188, 24),
    reserved1f8: zero(0x1f8, 168),
})

const V3 = layout('ATTESTATION_REPORT v3', REPORT_SIZE, { ...COMMON, ...CPUID, reserved1f8: zero(0x1f8, 168) })

const V5 = layout('ATTESTATION_REPORT v5', REPORT_SIZE, {
    ...COMMON,
    ...CPUID,
    ...MITIGATION,
    reserved208: zero(0x208, 152),
})

/** Version 6 adds the extended TCBs of Venice, 32 bytes each. */
const V6 = layout('ATTESTATION_REPORT v6', REPORT_SIZE, {
    ...COMMON,
    ...CPUID,
    ...MITIGATION,
    reserved208: zero(0x208, 24),
    currentEtcb: bytes(0x220, 32),
    launchEtcb: bytes(0x240, 32),
    committedEtcb: bytes(0x260, 32),
    reserved280: zero(0x280, 32),
})

/** By VERSION. */
export const REPORT_LAYOUTS = { 2: V2, 3: V3, 5: V5, 6: V6 } as const

type Optional = Partial<Parsed<typeof CPUID> & Parsed<typeof MITIGATION>> & {
    readonly currentEtcb?: Buffer
    readonly launchEtcb?: Buffer
    readonly committedEtcb?: Buffer
}

/** A report of any known version; the fields that its version lacks are absent. */
export type Report = Parsed<typeof COMMON> & Optional

/**
 * Exactly one report. The signature is not looked at here.
 * @throws AttestError ERR_SNP_LENGTH, ERR_SNP_VERSION, ERR_RESERVED
 */
export function parseReport(raw: Uint8Array): Report {
    if (raw.length !== REPORT_SIZE)
        throw snpError('ERR_SNP_LENGTH', `an SNP report has ${REPORT_SIZE} bytes, got ${raw.length}`)
    return layoutOf(Buffer.from(raw.buffer, raw.byteOffset, 4).readUInt32LE(0)).parse(raw) as Report
}

/** The bytes of a report. */
export const encodeReport = (report: Report): Buffer => layoutOf(report.version).encode(report as never)

function layoutOf(version: number): Layout<typeof COMMON> {
    const found = REPORT_LAYOUTS[version as keyof typeof REPORT_LAYOUTS]
    if (found) return found as unknown as Layout<typeof COMMON>
    const known = Object.keys(REPORT_LAYOUTS).join(', ')
    throw snpError('ERR_SNP_VERSION', `report version ${version} is not supported: expected one of ${known}`)
}

/** Guest policy, chosen by the guest's owner at launch. AMD 56860, table 9. */
export const POLICY = bitTable('POLICY', {
    abiMinor: { bits: [7, 0], means: 'least firmware ABI, minor' },
    abiMajor: { bits: [15, 8], means: 'least firmware ABI, major' },
    smtAllowed: { bits: 16, means: 'may run where SMT is on' },
    reservedOne: { bits: 17, means: 'always one' },
    migrationAllowed: { bits: 18, means: 'a migration agent may be bound' },
    debugAllowed: { bits: 19, means: 'the host may read and write its memory' },
    singleSocketRequired: { bits: 20, means: 'runs on one socket only' },
    cxlAllowed: { bits: 21, means: 'CXL may be populated' },
    memoryAes256XtsRequired: { bits: 22, means: 'memory must be encrypted with AES-256-XTS' },
    raplDisabledRequired: { bits: 23, means: 'power metering (RAPL) must be off' },
    ciphertextHidingRequired: { bits: 24, means: 'ciphertext of DRAM must be hidden' },
    pageSwapDisabled: { bits: 25, means: 'the host may not swap its pages' },
})

/** What the platform is set up as. AMD 56860, table 24. */
export const PLATFORM_INFO = bitTable('PLATFORM_INFO', {
    smtEnabled: { bits: 0, means: 'SMT is on' },
    tsmeEnabled: { bits: 1, means: 'transparent memory encryption is on' },
    eccEnabled: { bits: 2, means: 'memory has ECC' },
    raplDisabled: { bits: 3, means: 'power metering (RAPL) is off' },
    ciphertextHidingEnabled: { bits: 4, means: 'ciphertext of DRAM is hidden' },
    aliasCheckComplete: { bits: 5, means: 'no memory address is an alias of another (answers BadRAM)' },
    tioEnabled: { bits: 7, means: 'trusted I/O is on' },
})

/** The word at 0x48. */
export const KEY_INFO = bitTable('KEY_INFO', {
    authorKeyEnabled: { bits: 0, means: 'AUTHOR_KEY_DIGEST is filled in' },
    maskChipKey: { bits: 1, means: 'the host masks the chip id' },
    signingKey: { bits: [4, 2], means: '0 VCEK, 1 VLEK, 7 none' },
})

/** SIGNING_KEY by value. */
export const SIGNING_KEYS: Readonly<Record<number, 'VCEK' | 'VLEK'>> = { 0: 'VCEK', 1: 'VLEK' }
