// SNP evidence in the key broker protocol's JSON form: the report as a structure, byte strings as arrays of numbers, the
// certificates as a list. KBS attestation protocol 0.4.0; the shape is that of virtee/sev's serialisation.
// Reserved bytes have no place in it, so a report is sent only if it comes back as the same bytes.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { equalBytes } from '#core/bytes.ts'
import { issues } from '#core/schema.ts'
import type { Evidence } from '#drivers/driver.ts'
import { CERT_GUIDS, type CertEntry, type CertName, certName, encodeCertTable, parseCertTable } from './cert-table.ts'
import { snpError } from './errors.ts'
import { encodeReport, parseReport, type Report } from './report.ts'
import { readTcb, type Tcb, writeTcb } from './tcb.ts'

const byte = z.int().check(z.gte(0), z.lte(255))
const u32 = z.int().check(z.gte(0), z.lte(0xffffffff))
// Numbers that a double cannot hold arrive as bigint (core/json.ts).
const u64 = z.pipe(
    z.union([z.int().check(z.gte(0)), z.bigint().check(z.gte(0n), z.lte(0xffffffffffffffffn))]),
    z.transform((value: number | bigint) => BigInt(value)),
)
// One check for all bytes of an array: a schema for each of some thousand would cost more than the signature.
const bytes = z.custom<number[]>(Array.isArray, 'expected an array of numbers').check(
    z.check(({ value, issues: found }) => {
        const at = value.findIndex((b: unknown) => !Number.isInteger(b) || (b as number) < 0 || (b as number) > 0xff)
        if (at >= 0)
            found.push({ code: 'custom', input: value, path: [at], message: 'expected a number from 0 to 255' })
    }),
)
const byteArray = (length: number) =>
    z.pipe(
        bytes.check(z.length(length)),
        z.transform((values: number[]) => Buffer.from(values)),
    )
const orNull = <T extends z.ZodMiniType>(schema: T) => z.optional(z.nullable(schema))

const TCB = z.strictObject({ fmc: orNull(byte), bootloader: byte, tee: byte, snp: byte, microcode: byte })
const VERSION = z.strictObject({ major: byte, minor: byte, build: byte })

const REPORT_JSON = z.strictObject({
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: byteArray(16),
    image_id: byteArray(16),
    vmpl: u32,
    sig_algo: u32,
    current_tcb: TCB,
    plat_info: u64,
    key_info: u32,
    report_data: byteArray(64),
    measurement: byteArray(48),
    host_data: byteArray(32),
    id_key_digest: byteArray(48),
    author_key_digest: byteArray(48),
    report_id: byteArray(32),
    report_id_ma: byteArray(32),
    reported_tcb: TCB,
    cpuid_fam_id: orNull(byte),
    cpuid_mod_id: orNull(byte),
    cpuid_step: orNull(byte),
    chip_id: byteArray(64),
    committed_tcb: TCB,
    current: VERSION,
    committed: VERSION,
    launch_tcb: TCB,
    launch_mit_vector: orNull(u64),
    current_mit_vector: orNull(u64),
    signature: z.strictObject({ r: byteArray(72), s: byteArray(72) }),
})

const CERT_ENTRY = z.strictObject({
    cert_type: z.union([
        z.enum(['VCEK', 'VLEK', 'ASK', 'ARK', 'CRL', 'Empty']),
        z.strictObject({ OTHER: z.string().check(z.regex(/^[0-9a-fA-F-]{36}$/)) }),
    ]),
    data: bytes.check(z.maxLength(0x10000)),
})

const EVIDENCE_JSON = z.strictObject({
    attestation_report: REPORT_JSON,
    cert_chain: orNull(z.array(CERT_ENTRY).check(z.maxLength(32))),
})

type ReportJson = z.infer<typeof REPORT_JSON>
type TcbJson = z.infer<typeof TCB>

/**
 * Evidence from its JSON form. Null: it has no `attestation_report`, so it is another technology's.
 * @throws AttestError ERR_SNP_EVIDENCE, naming the member
 */
export function fromKbs(primary: unknown): Evidence | null {
    if (typeof primary !== 'object' || primary === null || !Object.hasOwn(primary, 'attestation_report')) return null
    const result = EVIDENCE_JSON.safeParse(primary)
    if (!result.success) throw snpError('ERR_SNP_EVIDENCE', `SNP evidence: ${issues(result.error)}`)
    const { attestation_report, cert_chain } = result.data
    const entries = (cert_chain ?? []).flatMap(({ cert_type, data }): CertEntry[] => {
        if (cert_type === 'Empty') return []
        const guid = typeof cert_type === 'string' ? CERT_GUIDS[cert_type] : cert_type.OTHER.toLowerCase()
        return [{ guid, data: Buffer.from(data) }]
    })
    // Through the same door as a host's table: what repeats or is empty is refused there.
    const table = entries.length > 0 ? { certificates: encodeCertTable(entries) } : {}
    return { tee: 'snp', report: encodeReport(fromJson(attestation_report)), ...table }
}

/** @throws AttestError ERR_SNP_EVIDENCE where the form cannot hold this report */
export function toKbs({ report: raw, certificates }: Evidence): unknown {
    const report = parseReport(raw)
    const attestation_report = toJson(report)
    const back = REPORT_JSON.safeParse(attestation_report)
    if (!back.success || !equalBytes(encodeReport(fromJson(back.data)), raw))
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

function fromJson(json: ReportJson): Report {
    return {
        version: json.version,
        guestSvn: json.guest_svn,
        policy: json.policy,
        familyId: json.family_id,
        imageId: json.image_id,
        vmpl: json.vmpl,
        signatureAlgo: json.sig_algo,
        currentTcb: tcbWord(json.current_tcb),
        platformInfo: json.plat_info,
        keyInfo: json.key_info,
        reportData: json.report_data,
        measurement: json.measurement,
        hostData: json.host_data,
        idKeyDigest: json.id_key_digest,
        authorKeyDigest: json.author_key_digest,
        reportId: json.report_id,
        reportIdMa: json.report_id_ma,
        reportedTcb: tcbWord(json.reported_tcb),
        chipId: json.chip_id,
        committedTcb: tcbWord(json.committed_tcb),
        currentVersion: json.current,
        committedVersion: json.committed,
        launchTcb: tcbWord(json.launch_tcb),
        signatureR: json.signature.r,
        signatureS: json.signature.s,
        // A version that has these fields has them as numbers; absent ones of an older version are never encoded.
        cpuidFamily: json.cpuid_fam_id ?? 0,
        cpuidModel: json.cpuid_mod_id ?? 0,
        cpuidStepping: json.cpuid_step ?? 0,
        launchMitVector: json.launch_mit_vector ?? 0n,
        currentMitVector: json.current_mit_vector ?? 0n,
        currentEtcb: Buffer.alloc(32),
        launchEtcb: Buffer.alloc(32),
        committedEtcb: Buffer.alloc(32),
    }
}

function toJson(report: Report) {
    const hasFmc = turinLayout(report)
    const tcb = (word: bigint) => tcbJson(word, hasFmc)
    const { reserved: _, ...current } = { reserved: undefined, ...report.currentVersion }
    return {
        version: report.version,
        guest_svn: report.guestSvn,
        policy: report.policy,
        family_id: [...report.familyId],
        image_id: [...report.imageId],
        vmpl: report.vmpl,
        sig_algo: report.signatureAlgo,
        current_tcb: tcb(report.currentTcb),
        plat_info: report.platformInfo,
        key_info: report.keyInfo,
        report_data: [...report.reportData],
        measurement: [...report.measurement],
        host_data: [...report.hostData],
        id_key_digest: [...report.idKeyDigest],
        author_key_digest: [...report.authorKeyDigest],
        report_id: [...report.reportId],
        report_id_ma: [...report.reportIdMa],
        reported_tcb: tcb(report.reportedTcb),
        cpuid_fam_id: report.cpuidFamily ?? null,
        cpuid_mod_id: report.cpuidModel ?? null,
        cpuid_step: report.cpuidStepping ?? null,
        chip_id: [...report.chipId],
        committed_tcb: tcb(report.committedTcb),
        current,
        committed: { ...report.committedVersion },
        launch_tcb: tcb(report.launchTcb),
        launch_mit_vector: report.launchMitVector ?? null,
        current_mit_vector: report.currentMitVector ?? null,
        signature: { r: [...report.signatureR], s: [...report.signatureS] },
    }
}

// Turin's layout begins with an FMC. Version 2 has no CPUID: there eight bytes of chip id betray a Turin.
function turinLayout({ cpuidFamily, chipId }: Report): boolean {
    if (cpuidFamily !== undefined) return cpuidFamily >= 0x1a
    return chipId.subarray(8).every((b) => b === 0) && !chipId.every((b) => b === 0)
}

const tcbWord = ({ fmc, bootloader, ...rest }: TcbJson): bigint =>
    fmc === null || fmc === undefined
        ? writeTcb('Milan', { bootLoader: bootloader, ...rest })
        : writeTcb('Turin', { fmc, bootLoader: bootloader, ...rest })

function tcbJson(word: bigint, hasFmc: boolean) {
    const { fmc, bootLoader, ...rest }: Tcb = readTcb(hasFmc ? 'Turin' : 'Milan', word, 'TCB')
    return { fmc: fmc ?? null, bootloader: bootLoader, ...rest }
}
