// SNP evidence in the key broker protocol's JSON form, as it is received: every member's type and length is checked before
// it becomes a report and a certificate table.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { issues } from '#core/schema.ts'
import type { Evidence } from '#drivers/driver.ts'
import { CERT_GUIDS, type CertEntry, encodeCertTable } from './cert-table.ts'
import { snpError } from './errors.ts'
import { fromJson, type MemberKind, REPORT_MEMBERS, type ReportJson } from './kbs-evidence.ts'
import { encodeReport, REPORT_LAYOUTS } from './report.ts'
import { TEE } from './tee.ts'

const byte = z.int().check(z.gte(0), z.lte(255))
const u32 = z.int().check(z.gte(0), z.lte(0xffffffff))
// Numbers that a double cannot hold arrive as bigint (core/json.ts).
const u64 = z.union([z.int().check(z.gte(0)), z.bigint().check(z.gte(0n), z.lte(0xffffffffffffffffn))])
// One check for all bytes of an array: a schema for each of some thousand would cost more than the signature.
const bytes = z.custom<number[]>(Array.isArray, 'expected an array of numbers').check(
    z.check(({ value, issues: found }) => {
        const at = value.findIndex((b: unknown) => !Number.isInteger(b) || (b as number) < 0 || (b as number) > 0xff)
        if (at >= 0)
            found.push({ code: 'custom', input: value, path: [at], message: 'expected a number from 0 to 255' })
    }),
)
const byteArray = (length: number) => bytes.check(z.length(length))
const orNull = <T extends z.ZodMiniType>(schema: T) => z.optional(z.nullable(schema))

const KINDS: Readonly<Record<Exclude<MemberKind, 'bytes'>, z.ZodMiniType>> = {
    u32,
    u64,
    tcb: z.strictObject({ fmc: orNull(byte), bootloader: byte, tee: byte, snp: byte, microcode: byte }),
    version: z.strictObject({ major: byte, minor: byte, build: byte }),
    optionalU8: orNull(byte),
    optionalU64: orNull(u64),
}

// Lengths stand in the layout of the report alone.
const sizeOf = (field: keyof (typeof REPORT_LAYOUTS)[5]['fields']): number => REPORT_LAYOUTS[5].fields[field].size

const REPORT_JSON = z.strictObject({
    ...Object.fromEntries(
        REPORT_MEMBERS.map(([name, field, kind]) => [name, kind === 'bytes' ? byteArray(sizeOf(field)) : KINDS[kind]]),
    ),
    signature: z.strictObject({ r: byteArray(sizeOf('signatureR')), s: byteArray(sizeOf('signatureS')) }),
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
    return { tee: TEE, report: encodeReport(fromJson(attestation_report as ReportJson)), ...table }
}
