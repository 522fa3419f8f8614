// Is it authentic? A quote of a TD, the certificates of its platform, and what Intel says of them, as a list of named
// checks. Intel TDX DCAP Quoting Library API rev 0.9; the order is that of Intel's quote verification library. Whether
// the status that comes out is acceptable is status.ts, and what of the TD is, appraise.ts.
// SPDX-License-Identifier: Apache-2.0

import { hash, type KeyObject, verify } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import type { Checks } from '#core/checks.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Trust } from '#evidence/verifier.ts'
import { type Anchors, chainBytes, checkTime, isEmulated, type PckChain } from './chain.ts'
import { claimsOf } from './claims.ts'
import { type SignerFinder, type Statement, statementsFor, type Verified } from './collateral/collateral.ts'
import { checkNotRevoked, checkRevocation, type Revocation, type RevocationLists } from './collateral/revocation.ts'
import type { QeIdentity, TcbInfo } from './collateral/schema.ts'
import { type Trusted, type TrustReader, trustReader } from './collateral/trusted.ts'
import { type Collateral, describePlatform, type VerifiedQe } from './describe-platform.ts'
import { tdxError } from './errors.ts'
import { logClaims } from './event-log/claims.ts'
import { checkEventLog } from './event-log/event-log.ts'
import type { TdxAuthentic } from './platform.ts'
import { attestationKeyOf, checkKnownQe, checkQeIdentity, checkQeReport } from './qe.ts'
import { parseQuote, type Quote } from './quote.ts'
import { checkModule, type Evaluation, evaluateTcb } from './tcb.ts'
import { WEAKNESSES } from './weaknesses.ts'

/** The checks in their order. */
export const AUTHENTIC_CHECKS = [
    'format',
    'chain',
    'validity',
    'revocation',
    'collateral',
    'module',
    'quoting-enclave',
    'qe-identity',
    'signature',
    'tcb',
    'event-log',
] as const

/** Quoting enclaves that are kept: a platform each. */
const MAX_KEPT = 1024

/**
 * The check of authenticity under one trust. It keeps the quoting enclaves that it has verified, by the digest of their
 * keys, report and certificates; time, revocation and the statements' dates are checked each time.
 */
export function authenticator(trust: Trust, read: TrustReader = trustReader(trust)) {
    const kept = new Map<string, VerifiedQe>()

    return function authenticate(evidence: Evidence, at: Date, checks: Checks): TdxAuthentic {
        const raw = evidence.report
        const quote = checks.run('format', () => describeFormat(parseQuote(raw)))
        const { chain, id, known } = checks.run('chain', () => {
            const { readChain, anchors } = read()
            const id = identify(quote)
            const known = kept.get(id)
            const chain = known?.chain ?? readChain(quote.certification.data)
            return { chain, id, known, detail: describeChain(chain, anchors) }
        })
        const { lists, anchors } = read()
        checks.run('validity', () => checkValidity(chain, at))
        const revocation = runRevocation(checks, chain, lists, at, trust.withoutRevocation)
        const collateral = runCollateral(checks, chain, read(), at)
        checks.run('module', () => ({ detail: checkModule(quote.body, collateral.tcbInfo?.body ?? null) }))
        const { verifiedQe } = checks.run('quoting-enclave', () => {
            const verifiedQe: VerifiedQe = known ?? {
                chain,
                qe: checkQeReport(quote, chain.key),
                key: attestationKeyOf(quote),
                identified: new WeakSet(),
            }
            keep(kept, id, verifiedQe)
            return { verifiedQe, detail: `MRENCLAVE ${toHex(verifiedQe.qe.mrEnclave)}, ISVSVN ${verifiedQe.qe.isvSvn}` }
        })
        const identity = collateral.qeIdentity?.body
        if (identity)
            checks.run('qe-identity', () => {
                if (!verifiedQe.identified.has(identity)) checkQeIdentity(verifiedQe.qe, identity)
                verifiedQe.identified.add(identity)
                return { detail: `MRSIGNER ${toHex(identity.mrsigner)}` }
            })
        else
            checks.runIfNamed('qe-identity', 'no identity was given: signer and product alone were compared', () => {
                checkKnownQe(verifiedQe.qe)
                return null
            })
        checks.run('signature', () => checkSignature(raw, quote, verifiedQe.key))
        const evaluation = runTcb(checks, quote, verifiedQe, collateral)

        const platform = describePlatform(verifiedQe, evaluation, collateral, revocation, at)
        const eventLog = runEventLog(checks, evidence, quote)
        const claims = { ...claimsOf(quote, platform), ...(eventLog ? { eventLog } : {}) }
        return {
            tee: evidence.tee,
            claims,
            platform,
            reportData: quote.body.reportData,
            measurement: toHex(quote.body.mrTd),
            guestId: null,
            customRoot: anchors.custom,
            revocationChecked: [revocation.root, revocation.pck].every((list) => list && at <= list.nextUpdate),
            emulated: platform.emulated,
            weaknesses: [...WEAKNESSES],
        }
    }
}

const describeFormat = (quote: Quote) => ({ ...quote, detail: `version ${quote.version}, body type ${quote.bodyType}` })

// What is the same in each quote of one platform. Its certificates count, not how somebody has written them: nobody shall
// fill what is kept with one enclave.
const identify = ({ attestationKey, qeReport, qeReportSignature, authData, certification }: Quote): string =>
    hash(
        'sha256',
        // The digest of each, as their lengths differ.
        Buffer.concat(
            [attestationKey, qeReport, qeReportSignature, authData, ...chainBytes(certification.data)].map((part) =>
                hash('sha256', part, 'buffer'),
            ),
        ),
        'base64',
    )

function describeChain({ pck, ca }: PckChain, { custom }: Anchors): string {
    const anchor = custom ? 'a root that the caller gave' : "Intel's key, built in"
    const mark = isEmulated({ pck, ca }) ? '; EMULATED: these keys were made by an emulator' : ''
    return `PCK of FMSPC ${pck.fmspc} ← ${ca.cn} ← ${ca.root.cn} (${anchor}${mark})`
}

function checkValidity({ pck, ca }: PckChain, at: Date) {
    const { certificate } = pck
    checkTime('the PCK certificate', certificate, at)
    checkTime(ca.cn, ca, at)
    checkTime(ca.root.cn, ca.root, at)
    return { detail: `PCK until ${certificate.notAfter.toISOString()}` }
}

// That a list has expired is for status.ts to judge: a policy may give grace.
function runRevocation(
    checks: Checks,
    chain: PckChain,
    lists: RevocationLists,
    at: Date,
    without: boolean,
): Revocation {
    const answer: { found?: Revocation } = {}
    checks.runIfNamed('revocation', 'no revocation list of root or PCK CA was given, or one only: not checked', () => {
        const found = checkRevocation(chain, lists, at)
        answer.found = found
        const { root, pck } = found
        if (root && pck) return { detail: [root, pck].map((list) => describeList(list, at)).join(', ') }
        if (without) return null
        const missing = [...(root ? [] : [chain.ca.root.cn]), ...(pck ? [] : [chain.ca.cn])]
        throw tdxError('ERR_TDX_CRL_MISSING', `no revocation list of ${missing.join(' or ')} was given`, {
            hint: 'give it with --collateral, or go without it with --offline',
        })
    })
    return answer.found as Revocation
}

const describeList = ({ name, nextUpdate }: NonNullable<Revocation['root']>, at: Date): string =>
    at <= nextUpdate ? `not in ${name}` : `not in ${name}, WHICH HAS EXPIRED`

function runCollateral(checks: Checks, { pck, ca }: PckChain, trusted: Trusted, at: Date): Collateral {
    const answer: { collateral: Collateral } = { collateral: { tcbInfo: null, qeIdentity: null } }
    const { statements, verifyStatement } = trusted
    const others = statements.others.length > 0 ? ` (of no use here: ${statements.others.join(', ')})` : ''
    const missing = `no TCB info for FMSPC ${pck.fmspc}, or no identity of the TD QE, was given${others}: not checked`
    checks.runIfNamed('collateral', missing, () => {
        const signersOf: SignerFinder = (statement) =>
            trusted.signersOf(statement).filter(({ root }) => root === ca.root)
        const { tcbInfo, qeIdentity, passedOver } = statementsFor({ statements, signersOf }, pck, at)
        const verified = <T>(statement: Statement<T>): Verified<T> => {
            const found = verifyStatement(statement, at)
            if (found.signer.root !== ca.root)
                throw tdxError(
                    'ERR_TDX_COLLATERAL',
                    `${statement.name}: another root vouches for it than for the PCK, and may speak of its own platforms alone`,
                )
            // Whoever has revoked one certificate of a key means the key.
            checkNotRevoked(ca.root, signersOf(statement), trusted.lists, at)
            return found
        }
        answer.collateral = {
            tcbInfo: tcbInfo ? verified(tcbInfo) : null,
            qeIdentity: qeIdentity ? verified(qeIdentity) : null,
        }
        if (!tcbInfo || !qeIdentity) return null
        const unsigned = passedOver.map((name) => `PASSED OVER, not signed by any trusted key: ${name}`)
        return { detail: [...[tcbInfo, qeIdentity].map(describeStatement), ...unsigned].join(', ') }
    })
    return answer.collateral
}

const describeStatement = ({ name, body }: { readonly name: string; readonly body: TcbInfo | QeIdentity }): string =>
    `${body.id} of ${name}: number ${body.tcbEvaluationDataNumber}, issued ${body.issueDate.toISOString()}`

function checkSignature(raw: Buffer, { signedSize, signature }: Quote, key: KeyObject) {
    const signed = raw.subarray(0, signedSize)
    if (verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature))
        return { detail: 'ECDSA P-256, SHA-256' }
    throw tdxError('ERR_TDX_SIGNATURE', 'the attestation key has not signed this quote')
}

function runTcb(checks: Checks, { body }: Quote, verifiedQe: VerifiedQe, collateral: Collateral): Evaluation | null {
    const { tcbInfo, qeIdentity } = collateral
    if (!tcbInfo || !qeIdentity) {
        checks.skip('tcb', 'nothing was given to judge it by')
        return null
    }
    return checks.run('tcb', () => {
        const of = [tcbInfo.body, qeIdentity.body, toHex(body.teeTcbSvn), toHex(body.teeTcbSvn2 ?? NO_SVN)]
        if (!verifiedQe.evaluated?.of.every((part, i) => part === of[i]))
            verifiedQe.evaluated = {
                of,
                evaluation: evaluateTcb(
                    { pck: verifiedQe.chain.pck, body, qe: verifiedQe.qe },
                    tcbInfo.body,
                    qeIdentity.body,
                ),
            }
        const { evaluation } = verifiedQe.evaluated
        return { ...evaluation, detail: evaluation.tcbStatus as string }
    })
}

function runEventLog(checks: Checks, { eventLog }: Evidence, quote: Quote): Claims | null {
    if (eventLog)
        return checks.run('event-log', () => {
            const { log, detail } = checkEventLog(eventLog, quote)
            return { claims: logClaims(log), detail }
        }).claims
    checks.skip('event-log', 'no event log was sent')
    return null
}

const NO_SVN = Buffer.alloc(0)

function keep(kept: Map<string, VerifiedQe>, key: string, value: VerifiedQe): void {
    kept.delete(key) // to the end: the one that was not used for the longest time goes first
    kept.set(key, value)
    const [oldest] = kept.keys()
    if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest)
}
