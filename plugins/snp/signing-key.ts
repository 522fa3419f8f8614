// Which certificate is that of the key that signed a report: one that the caller gave, if one fits, or the one that the
// evidence brings. A fitting one proves nothing yet; verify.ts checks whatever is chosen here.
// SPDX-License-Identifier: Apache-2.0

import { type KeyObject, verify } from 'node:crypto'
import { equalBytes, isZero } from '#core/bytes.ts'
import { type CertEntry, certOf } from './cert-table.ts'
import type { Anchors } from './chain.ts'
import { snpError } from './errors.ts'
import { KEY_INFO, type Report, SIGNED_SIZE, SIGNING_KEYS } from './report.ts'
import { isOfLine, PRODUCT_LINES, type ProductLineName, writeTcb } from './tcb.ts'
import type { Vek, VekKind } from './vek.ts'

/** What is asked of the certificates that were given. */
export interface Wanted {
    readonly raw: Buffer
    readonly report: Report
    readonly at: Date
}

export interface Chosen {
    readonly kind: VekKind
    readonly der: Buffer
    /** Where it was given: it has been read before. */
    readonly given?: Vek
    readonly detail: string
}

/**
 * A given certificate that fits, or that of the evidence, or the given one that comes nearest: the checks that follow
 * say what is wrong with it.
 * @throws AttestError ERR_SNP_FIELD, ERR_SNP_VEK_KIND, ERR_SNP_NO_VEK, what a given certificate could not be read for
 */
export function findVek(wanted: Wanted, { veks, unreadable }: Anchors, table: readonly CertEntry[]): Chosen {
    const { signingKey } = KEY_INFO.read(BigInt(wanted.report.keyInfo))
    const kind = SIGNING_KEYS[signingKey]
    if (!kind) throw snpError('ERR_SNP_FIELD', `SIGNING_KEY: expected 0 (VCEK) or 1 (VLEK), got ${signingKey}`)
    const ofKind = veks.filter((vek) => vek.kind === kind)
    const fits = (vek: Vek): boolean => AGREEMENTS.every((agrees) => agrees(vek, wanted))
    const own = certOf(table, kind)
    const given = ofKind.find(fits) ?? (own ? undefined : nearest(ofKind, wanted))
    if (given) return { kind, der: given.certificate.der, given, detail: `${kind}, given` }
    if (own) return { kind, der: own, detail: `${kind}, from the evidence` }
    if (unreadable[0]) throw unreadable[0]
    const other: VekKind = kind === 'VCEK' ? 'VLEK' : 'VCEK'
    if (veks.length > 0 || certOf(table, other))
        throw snpError('ERR_SNP_VEK_KIND', `the report was signed by a ${kind}, the certificate is that of a ${other}`)
    throw snpError('ERR_SNP_NO_VEK', `the evidence has no certificate of the ${kind} that signed it`, {
        hint: 'give it with --certs; for a VCEK it is at https://kdsintf.amd.com/vcek/v1/LINE/CHIP_ID?blSPL=…, see `inspect`',
    })
}

/** Whether CHIP_ID is what a VCEK was issued for: on Turin and later eight bytes name the chip, and zeros follow. */
export function isOfChip({ chipId }: Report, hwId: Buffer, line: ProductLineName): boolean {
    const { chipIdSize } = PRODUCT_LINES[line]
    return equalBytes(chipId.subarray(0, chipIdSize), hwId) && isZero(chipId.subarray(chipIdSize))
}

/** ECDSA over the raw bytes, never over fields that were parsed and encoded again. */
export function isSignedBy(raw: Buffer, { signatureR, signatureS }: Report, publicKey: KeyObject): boolean {
    const signature = Buffer.concat([scalar(signatureR), scalar(signatureS)])
    const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const
    return verify('sha384', raw.subarray(0, SIGNED_SIZE), key, signature)
}

/** R or S, big-endian: 72 bytes, little-endian, of which 48 count. */
export const scalar = (field: Buffer): Buffer => Buffer.from(field.subarray(0, 48)).reverse()

type Agreement = (vek: Vek, wanted: Wanted) => boolean

// Version 2 carries no CPUID: any line may be its own.
const inLine: Agreement = ({ line }, { report: { cpuidFamily, cpuidModel } }) =>
    cpuidFamily === undefined || cpuidModel === undefined || isOfLine(line, cpuidFamily, cpuidModel)

// A VLEK names no chip, and several providers may have one at the same TCB: its own is the one that it has signed.
const inOwner: Agreement = ({ hwId, line, certificate }, { raw, report }) =>
    hwId ? isOfChip(report, hwId, line) : isSignedBy(raw, report, certificate.publicKey)

const inTcb: Agreement = ({ line, tcb }, { report }) => writeTcb(line, tcb) === report.reportedTcb

// The same key may have been certified more than once.
const inTime: Agreement = ({ certificate: { notBefore, notAfter } }, { at }) => at >= notBefore && at <= notAfter

/** In what a given certificate has to agree with a report; the weightiest first, and what costs little before the rest. */
const AGREEMENTS = [inLine, inOwner, inTcb, inTime] as const

function nearest(veks: readonly Vek[], wanted: Wanted): Vek | undefined {
    const weigh = (vek: Vek) => AGREEMENTS.reduce((sum, agrees) => 2 * sum + Number(agrees(vek, wanted)), 0)
    return veks
        .map((vek) => ({ vek, weight: weigh(vek) }))
        .reduce<{ vek?: Vek; weight: number }>((best, one) => (one.weight > best.weight ? one : best), { weight: -1 })
        .vek
}
