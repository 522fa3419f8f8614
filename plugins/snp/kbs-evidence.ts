// SNP evidence in the key broker protocol's JSON form: the report as a structure, byte strings as arrays of numbers, the
// certificates as a list. KBS attestation protocol 0.4.0; the shape is that of virtee/sev's serialisation.
// Reserved bytes have no place in it, so a report is sent only if it comes back as the same bytes.
// This is the sending half, which a guest runs on the way to its disk; what is received is kbs-evidence-schema.ts.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes, isZero } from '#core/bytes.ts'
import type { Evidence } from '#drivers/driver.ts'
import { type CertName, certName, parseCertTable } from './cert-table.ts'
import { snpError } from './errors.ts'
import { encodeReport, parseReport, type Report } from './report.ts'
import { readTcb, type Tcb, writeTcb } from './tcb.ts'

/** How a member is written: what is optional is null in a report of a version that lacks it. */
export type MemberKind = 'u32' | 'u64' | 'bytes' | 'tcb' | 'version' | 'optionalU8' | 'optionalU64'

/** The members of `attestation_report` in the order of the reference, with the field that each holds. The signature follows. */
export const REPORT_MEMBERS = [
    ['version', 'version', 'u32'],
    ['guest_svn', 'guestSvn', 'u32'],
    ['policy', 'policy', 'u64'],
    ['family_id', 'familyId', 'bytes'],
    ['image_id', 'imageId', 'bytes'],
    ['vmpl', 'vmpl', 'u32'],
    ['sig_algo', 'signatureAlgo', 'u32'],
    ['current_tcb', 'currentTcb', 'tcb'],
    ['plat_info', 'platformInfo', 'u64'],
    ['key_info', 'keyInfo', 'u32'],
    ['report_data', 'reportData', 'bytes'],
    ['measurement', 'measurement', 'bytes'],
    ['host_data', 'hostData', 'bytes'],
    ['id_key_digest', 'idKeyDigest', 'bytes'],
    ['author_key_digest', 'authorKeyDigest', 'bytes'],
    ['report_id', 'reportId', 'bytes'],
    ['report_id_ma', 'reportIdMa', 'bytes'],
    ['reported_tcb', 'reportedTcb', 'tcb'],
    ['cpuid_fam_id', 'cpuidFamily', 'optionalU8'],
    ['cpuid_mod_id', 'cpuidModel', 'optionalU8'],
    ['cpuid_step', 'cpuidStepping', 'optionalU8'],
    ['chip_id', 'chipId', 'bytes'],
    ['committed_tcb', 'committedTcb', 'tcb'],
    ['current', 'currentVersion', 'version'],
    ['committed', 'committedVersion', 'version'],
    ['launch_tcb', 'launchTcb', 'tcb'],
    ['launch_mit_vector', 'launchMitVector', 'optionalU64'],
    ['current_mit_vector', 'currentMitVector', 'optionalU64'],
] as const satisfies readonly (readonly [json: string, field: keyof Report, kind: MemberKind])[]

export interface TcbJson {
    readonly fmc?: number | null | undefined
    readonly bootloader: number
    readonly tee: number
    readonly snp: number
    readonly microcode: number
}

/** `attestation_report` with every member of its kind; bytes are arrays of numbers. */
export type ReportJson = Readonly<Record<string, unknown>> & {
    readonly signature: { readonly r: readonly number[]; readonly s: readonly number[] }
}

/** @throws AttestError ERR_SNP_EVIDENCE where the form cannot hold this report */
export function toKbs({ report: raw, certificates }: Evidence): unknown {
    const report = parseReport(raw)
    const attestation_report = toJson(report)
    if (!equalBytes(encodeReport(fromJson(attestation_report)), raw))
        throw snpError('ERR_SNP_EVIDENCE', 'this report has fields that the protocol’s JSON form cannot hold', {
            hint: `it is of version ${report.version}; --format raw keeps every byte`,
        })
    const entries = certificates ? parseCertTable(certificates) : []
    const cert_chain = entries.map(({ guid, data }) => ({
        cert_type: (certName(guid) ?? { OTHER: guid }) satisfies CertName | { OTHER: string },
        data: [...data],
    }))
    return { attestation_report, cert_chain: cert_chain.length > 0 ? cert_chain : null }
}

/** The report of members whose types and lengths have been checked. */
export function fromJson(json: ReportJson): Report {
    const report: Record<string, unknown> = {
        signatureR: Buffer.from(json.signature.r),
        signatureS: Buffer.from(json.signature.s),
        // Version 6 alone has these, and the form has no place for them.
        currentEtcb: NO_ETCB,
        launchEtcb: NO_ETCB,
        committedEtcb: NO_ETCB,
    }
    for (const [name, field, kind] of REPORT_MEMBERS) report[field] = KINDS[kind].read(json[name])
    return report as unknown as Report
}

const NO_ETCB = Buffer.alloc(32)

function toJson(report: Report): ReportJson {
    const out: Record<string, unknown> = {}
    const hasFmc = turinLayout(report)
    for (const [name, field, kind] of REPORT_MEMBERS) out[name] = KINDS[kind].write(report[field], hasFmc)
    return { ...out, signature: { r: [...report.signatureR], s: [...report.signatureS] } }
}

interface Kind {
    readonly read: (json: unknown) => unknown
    readonly write: (field: unknown, hasFmc: boolean) => unknown
}

const same = (value: unknown): unknown => value
const word = (value: unknown): bigint => BigInt(value as number | bigint)

const KINDS: Readonly<Record<MemberKind, Kind>> = {
    u32: { read: same, write: same },
    u64: { read: word, write: same },
    bytes: { read: (json) => Buffer.from(json as number[]), write: (field) => [...(field as Buffer)] },
    tcb: { read: (json) => tcbWord(json as TcbJson), write: (field, hasFmc) => tcbJson(field as bigint, hasFmc) },
    version: { read: same, write: (field) => ({ ...(field as Report['currentVersion']) }) },
    // A version that has these fields has them as numbers; absent ones of an older version are never encoded.
    optionalU8: { read: (json) => json ?? 0, write: (field) => field ?? null },
    optionalU64: { read: (json) => word(json ?? 0), write: (field) => field ?? null },
}

// Turin's layout begins with an FMC. Version 2 has no CPUID: there eight bytes of chip id betray a Turin.
const turinLayout = ({ cpuidFamily, chipId }: Report): boolean =>
    cpuidFamily === undefined ? isZero(chipId.subarray(8)) && !isZero(chipId) : cpuidFamily >= 0x1a

const tcbWord = ({ fmc, bootloader, ...rest }: TcbJson): bigint =>
    fmc === null || fmc === undefined
        ? writeTcb('Milan', { bootLoader: bootloader, ...rest })
        : writeTcb('Turin', { fmc, bootLoader: bootloader, ...rest })

function tcbJson(value: bigint, hasFmc: boolean) {
    const { fmc, bootLoader, ...rest }: Tcb = readTcb(hasFmc ? 'Turin' : 'Milan', value, 'TCB')
    return { fmc: fmc ?? null, bootloader: bootLoader, ...rest }
}
