// Is it authentic? A report of SEV-SNP, its certificates and their revocation, as a list of named checks.
// AMD 56860 (SEV-SNP Firmware ABI) rev 1.58 §7.3, AMD 57230 (KDS) rev 1.05. What is acceptable is appraise.ts.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import { isZero, toHex } from '#core/bytes.ts'
import type { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { type Certificate, parseCertificate } from '#core/x509.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { Authentic, Trust } from '#evidence/verifier.ts'
import { type CertEntry, certOf, parseCertTable } from './cert-table.ts'
import { type Anchors, checkRevocation, checkTime, findIssuer, type Issuer, readAnchors } from './chain.ts'
import { claimsOf } from './claims.ts'
import { snpError } from './errors.ts'
import { ECDSA_P384_SHA384, HOST_VMPL, KEY_INFO, MAX_VMPL, POLICY, parseReport, type Report } from './report.ts'
import { type Chosen, findVek, isOfChip, isSignedBy, scalar } from './signing-key.ts'
import { formatTcb, partBelow, productLineOf, readTcb, type Tcb } from './tcb.ts'
import { fingerprint, readVek, type Vek, type VekKind } from './vek.ts'
import { weaknessesOf } from './weaknesses.ts'

/** The checks in their order. */
export const AUTHENTIC_CHECKS = [
    'format',
    'guest-requested',
    'signing-key',
    'chain',
    'validity',
    'revocation',
    'product-line',
    'tcb',
    'chip-id',
    'signature',
] as const

/** A VEK whose chain has been verified: that does not change, so it is worth keeping. */
interface VerifiedVek {
    readonly vek: Vek
    readonly issuer: Issuer
    readonly key: KeyObject
    /** What the checks say of it when they pass. */
    readonly told: { readonly chain: string; readonly validity: string; readonly tcb: string }
}

/** Chains that are kept: a chip or a provider each. */
const MAX_KEPT = 1024

/**
 * The check of authenticity under one trust. It keeps the chains that it has verified, by the digest of their VEK; time
 * and revocation are checked each time.
 */
export function authenticator(trust: Trust) {
    let anchors: Anchors | undefined
    const kept = new Map<string, VerifiedVek>()

    return function authenticate(evidence: Evidence, at: Date, checks: Checks): Authentic {
        const raw = evidence.report
        const { report, table } = checks.run('format', () => {
            const report = checkFields(parseReport(raw))
            return {
                report,
                table: parseCertTable(evidence.certificates ?? NO_TABLE),
                detail: `version ${report.version}`,
            }
        })
        checks.run('guest-requested', () => checkRequester(report))
        const chosen = checks.run('signing-key', () => {
            anchors ??= readAnchors(trust)
            return findVek({ raw, report, at }, anchors, table)
        })
        const { vek, issuer, key, told } = checks.run('chain', () => {
            const id = fingerprint(chosen.der)
            const known = kept.get(id) ?? verifyChain(chosen, anchors as Anchors, table)
            keep(kept, id, known)
            checkKind(chosen.kind, known.vek.kind)
            return { ...known, detail: known.told.chain }
        })
        checks.run('validity', () => {
            checkValidity(vek, issuer, at)
            return { detail: told.validity }
        })
        const revocationChecked = runRevocation(checks, issuer, anchors as Anchors, at, trust.withoutRevocation)
        checks.run('product-line', () => checkProductLine(report, vek))
        checks.run('tcb', () => {
            checkTcb(report, vek)
            return { detail: told.tcb }
        })
        checks.run('chip-id', () => checkChipId(report, vek))
        checks.run('signature', () => checkSignature(raw, report, key, chosen.kind))

        const emulated = vek.emulated || issuer.emulated || issuer.root.emulated
        const claims = {
            ...claimsOf(report, vek.line),
            productName: vek.productName,
            ...(vek.cspId === null ? {} : { vlekProvider: vek.cspId }),
            emulated,
        }
        return {
            tee: evidence.tee,
            claims,
            reportData: report.reportData,
            measurement: toHex(report.measurement),
            guestId: toHex(report.reportId),
            customRoot: anchors?.custom ?? true,
            revocationChecked,
            emulated,
            weaknesses: weaknessesOf(claims),
        }
    }
}

const NO_TABLE = Buffer.alloc(0)

// The order of P-384's group (SEC 2 v2, §2.5.1), big-endian.
const GROUP_ORDER = Buffer.from(
    'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
    'hex',
)

function checkFields(report: Report): Report {
    const refuse = (text: string) => snpError('ERR_SNP_FIELD', text)
    if (report.signatureAlgo !== ECDSA_P384_SHA384)
        throw refuse(
            `SIGNATURE_ALGO: expected ${ECDSA_P384_SHA384} (ECDSA P-384 with SHA-384), got ${report.signatureAlgo}`,
        )
    const unknownPolicy = POLICY.unknown(report.policy)
    if (unknownPolicy !== 0n) throw refuse(`POLICY: the bits 0x${unknownPolicy.toString(16)} are not known`)
    if (!POLICY.read(report.policy).reservedOne) throw refuse('POLICY: bit 17 must be one')
    const unknownKeyInfo = KEY_INFO.unknown(BigInt(report.keyInfo))
    if (unknownKeyInfo !== 0n) throw refuse(`the word at 0x48: the bits 0x${unknownKeyInfo.toString(16)} are not known`)
    if (report.vmpl > MAX_VMPL && report.vmpl !== HOST_VMPL)
        throw refuse(`VMPL: expected 0 to ${MAX_VMPL}, got ${report.vmpl}`)
    return report
}

function checkRequester({ vmpl }: Report) {
    if (vmpl !== HOST_VMPL) return { detail: `VMPL ${vmpl}` }
    throw snpError('ERR_SNP_HOST_REQUESTED', 'the host asked for this report: nothing in it is the word of the guest')
}

// Where a host stored one in the place of the other, the name in the table is its word.
function checkKind(kind: VekKind, got: VekKind): void {
    if (got !== kind)
        throw snpError('ERR_SNP_VEK_KIND', `the report was signed by a ${kind}, the certificate is that of a ${got}`)
}

function verifyChain({ der, given }: Chosen, anchors: Anchors, table: readonly CertEntry[]): VerifiedVek {
    const vek = given ?? readVek(parseCertificate(der, 'VEK certificate'))
    const issuer = findIssuer(vek, anchors, () => parsedOrNothing(certOf(table, 'ASK')))
    const key = vek.certificate.publicKey
    if (key.asymmetricKeyDetails?.namedCurve !== 'secp384r1')
        throw snpError('ERR_SNP_SIGNATURE', `the key of the ${vek.kind} is not on P-384`)
    const validity = `${vek.kind} until ${vek.certificate.notAfter.toISOString()}`
    return { vek, issuer, key, told: { chain: describeChain(vek, issuer, anchors), validity, tcb: formatTcb(vek.tcb) } }
}

// Some hosts store intermediates that do not parse; a built-in key or a given certificate may still do.
function parsedOrNothing(der: Buffer | undefined): Certificate[] {
    try {
        return der ? [parseCertificate(der, 'ASK of the evidence')] : []
    } catch (error) {
        if (error instanceof AttestError) return []
        throw error
    }
}

function keep(kept: Map<string, VerifiedVek>, key: string, value: VerifiedVek): void {
    kept.delete(key) // to the end: the one that was not used for the longest time goes first
    kept.set(key, value)
    const [oldest] = kept.keys()
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest)
}

function describeChain(vek: Vek, issuer: Issuer, { custom }: Anchors): string {
    const anchor = custom ? 'a root that the caller gave' : "AMD's key, built in"
    const mark = vek.emulated || issuer.root.emulated ? '; EMULATED: these keys were made by an emulator' : ''
    return `${vek.kind} ← ${issuer.cn} ← ${issuer.root.cn} (${anchor}${mark})`
}

function checkValidity({ kind, certificate }: Vek, issuer: Issuer, at: Date): void {
    checkTime(`the certificate of the ${kind}`, certificate, at)
    checkTime(issuer.cn, issuer, at)
    checkTime(issuer.root.cn, issuer.root, at)
}

function runRevocation(checks: Checks, issuer: Issuer, anchors: Anchors, at: Date, without: boolean): boolean {
    if (without && !anchors.revocationLists.some(({ list }) => list.issuerCn === issuer.root.cn)) {
        checks.skip('revocation', `no revocation list of ${issuer.root.cn} was given: not checked`)
        return false
    }
    checks.run('revocation', () => {
        const list = checkRevocation(issuer, anchors, at)
        if (list) return { detail: `${issuer.cn} is not in ${list}` }
        throw snpError('ERR_SNP_CRL_MISSING', `no revocation list of ${issuer.root.cn} was given`, {
            hint: 'give it with --collateral, or go without it with --offline',
        })
    })
    return true
}

// Version 2 carries no CPUID: there the certificate alone names the line.
function checkProductLine({ cpuidFamily, cpuidModel }: Report, { line, productName }: Vek) {
    if (cpuidFamily === undefined || cpuidModel === undefined)
        return { detail: `${productName}, named by the certificate` }
    const claimed = productLineOf(cpuidFamily, cpuidModel)
    if (claimed === line) return { detail: productName }
    throw snpError('ERR_SNP_PRODUCT_LINE', `the report is from ${claimed}, its certificate is for ${productName}`)
}

function checkTcb(report: Report, { line, tcb, kind }: Vek): void {
    const reported = readTcb(line, report.reportedTcb, 'REPORTED_TCB')
    const current = readTcb(line, report.currentTcb, 'CURRENT_TCB')
    if (!sameTcb(reported, tcb))
        throw snpError(
            'ERR_SNP_VEK_TCB',
            `the ${kind} is for TCB ${formatTcb(tcb)}, the report names ${formatTcb(reported)}`,
        )
    const ahead = partBelow(current, tcb)
    if (ahead) throw snpError('ERR_SNP_VEK_TCB', `the ${kind} is for a later ${ahead} than the one that runs`)
}

const sameTcb = (a: Tcb, b: Tcb): boolean => partBelow(a, b) === undefined && partBelow(b, a) === undefined

function checkChipId(report: Report, { hwId, line }: Vek) {
    if (hwId === null) return { detail: 'a VLEK is not bound to a chip' }
    if (isOfChip(report, hwId, line)) return { detail: toHex(hwId) }
    const { chipId, keyInfo } = report
    const masked = isZero(chipId) && KEY_INFO.read(BigInt(keyInfo)).maskChipKey
    throw snpError(
        'ERR_SNP_CHIP_ID',
        masked
            ? 'the host masks the chip id, so the certificate cannot be matched with the chip'
            : `the VCEK is for chip ${toHex(hwId)}, the report names ${toHex(chipId)}`,
    )
}

function checkSignature(raw: Buffer, report: Report, key: KeyObject, kind: VekKind) {
    checkScalar(report.signatureR, 'R')
    checkScalar(report.signatureS, 'S')
    if (isSignedBy(raw, report, key)) return { detail: 'ECDSA P-384, SHA-384' }
    throw snpError('ERR_SNP_SIGNATURE', `the ${kind} has not signed this report`)
}

// A number from 1 to the order of the group.
function checkScalar(field: Buffer, name: string): void {
    const value = scalar(field)
    if (!isZero(field.subarray(value.length)))
        throw snpError('ERR_SNP_SIGNATURE', `${name}: the bytes behind its 48 are not zero`)
    if (isZero(value) || value.compare(GROUP_ORDER) >= 0)
        throw snpError('ERR_SNP_SIGNATURE', `${name} is not between 1 and the order of the group`)
}
