// Intel's signed statements, as files: `{"tcbInfo":{…},"signature":"…"}`, `{"enclaveIdentity":{…},"signature":"…"}`
// (Intel SGX and TDX Provisioning Certification Service API, version 4), and the bundles of nine fields in which
// verifiers hand them on with their chains and revocation lists. Several may be there, for several platforms and of
// several dates. The signature is over the bytes as they were sent: they are cut out of the text and never written
// again.
// SPDX-License-Identifier: Apache-2.0

import { verify } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { memberText, parseJson } from '#core/json.ts'
import { type Certificate, outOfTime, parseCertificates } from '#core/x509.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Anchors, Issued } from '../chain.ts'
import { tdxError } from '../errors.ts'
import type { Pck } from '../pck.ts'
import { checkNotRevoked, type RevocationLists } from './revocation.ts'
import { type QeIdentity, readQeIdentity, readTcbInfo, type TcbInfo } from './schema.ts'

/** What was said, and who signed it. */
export interface Statement<T> {
    readonly name: string
    readonly body: T
    /** As it was signed. */
    readonly signed: Buffer
    /** r and s, 32 bytes each. */
    readonly signature: Buffer
}

/** Everything that the given files say; nothing of it is verified yet. */
export interface Statements {
    readonly tcbInfos: readonly Statement<TcbInfo>[]
    readonly qeIdentities: readonly Statement<QeIdentity>[]
    /** The chains of bundles, which are trusted for nothing. */
    readonly certificates: readonly Certificate[]
    readonly revocationLists: readonly NamedBytes[]
    /** What was read and is of no use here, for a person. */
    readonly others: readonly string[]
}

/** A statement that a trusted key has signed. */
export interface Verified<T> extends Statement<T> {
    readonly signer: Issued
}

/** Real ones have 20 KiB. */
const MAX_BYTES = 256 << 10

const BUNDLE_STRINGS = [
    'pck_crl_issuer_chain',
    'root_ca_crl',
    'pck_crl',
    'tcb_info_issuer_chain',
    'tcb_info',
    'tcb_info_signature',
    'qe_identity_issuer_chain',
    'qe_identity',
    'qe_identity_signature',
] as const

type Bundle = Readonly<Record<(typeof BUNDLE_STRINGS)[number], string>>

/** What brings all that quotes of a platform are judged by. */
export const fetchHint = (fmspc = 'FMSPC'): string =>
    `\`guest-attest collateral fetch --fmspc ${fmspc} --out certs/\`, then \`--collateral certs/\``

/** @throws AttestError ERR_TDX_COLLATERAL, ERR_JSON, ERR_CERTIFICATE */
export function readStatements(given: readonly NamedBytes[]): Statements {
    const all = given.map(readFile)
    return {
        tcbInfos: all.flatMap(({ tcbInfos = [] }) => tcbInfos),
        qeIdentities: all.flatMap(({ qeIdentities = [] }) => qeIdentities),
        certificates: all.flatMap(({ certificates = [] }) => certificates),
        revocationLists: all.flatMap(({ revocationLists = [] }) => revocationLists),
        others: all.flatMap(({ others = [] }) => others),
    }
}

/** A platform as a PCK certificate names it; without a PCE-ID where nobody showed one. */
export type PlatformId = Pick<Pck, 'fmspc'> & Partial<Pick<Pck, 'pceId'>>

/** The FMSPC that TCB info is of, as a PCK certificate's is written. */
export const fmspcOf = ({ fmspc }: TcbInfo): string => toHex(fmspc)

/**
 * The statements to judge a platform by, each undefined where none was given. What no trusted key has signed is passed
 * over where something else is there that one has.
 * @throws AttestError ERR_TDX_COLLATERAL where all that is of its FMSPC is of another PCE, and as `choose`
 */
export function statementsFor(
    { statements, signersOf }: { readonly statements: Statements; readonly signersOf: SignerFinder },
    { fmspc, pceId }: PlatformId,
    at: Date,
) {
    const passedOver: string[] = []
    const signed = <T>(among: readonly Statement<T>[]): readonly Statement<T>[] => {
        const own = among.filter((statement) => signersOf(statement).length > 0)
        if (own.length === 0) return among
        passedOver.push(...among.filter((statement) => !own.includes(statement)).map(({ name }) => name))
        return own
    }
    const ofFmspc = signed(statements.tcbInfos.filter(({ body }) => fmspcOf(body) === fmspc))
    const own = ofFmspc.filter(({ body }) => pceId === undefined || toHex(body.pceId) === pceId)
    const [other] = ofFmspc
    if (other && own.length === 0)
        throw tdxError('ERR_TDX_COLLATERAL', `${other.name}: PCE-ID: expected ${pceId}, got ${toHex(other.body.pceId)}`)
    return { tcbInfo: choose(own, at), qeIdentity: choose(signed(statements.qeIdentities), at), passedOver }
}

/**
 * The statement to judge by among those that are on one matter: of those that hold at the time the one with the highest
 * evaluation number, then the newest; where none holds, the one that expired last.
 * @throws AttestError ERR_TDX_COLLATERAL_TIME where all are of the future
 */
function choose<T extends Dated>(among: readonly Statement<T>[], at: Date): Statement<T> | undefined {
    const issued = among.filter(({ body }) => body.issueDate <= at)
    const current = issued.filter(({ body }) => at <= body.nextUpdate)
    const [first] = among
    if (first && issued.length === 0)
        throw tdxError(
            'ERR_TDX_COLLATERAL_TIME',
            `${first.name} was issued at ${first.body.issueDate.toISOString()}, the time is ${at.toISOString()}`,
        )
    return current.length > 0
        ? best(current, (body) => [body.tcbEvaluationDataNumber, body.issueDate.getTime()])
        : best(issued, (body) => [body.nextUpdate.getTime(), body.tcbEvaluationDataNumber])
}

export type Dated = Pick<TcbInfo, 'issueDate' | 'nextUpdate' | 'tcbEvaluationDataNumber'>

/** The certificates of the key that signed a statement, among those that a root vouches for; none where nobody knows it. */
export type SignerFinder = (statement: Statement<unknown>) => readonly Issued[]

/** What has been found is kept. */
export function signerFinder({ signers }: Pick<Anchors, 'signers'>): SignerFinder {
    const known = new WeakMap<object, readonly Issued[]>()
    // One key may have been certified more than once, and comes with each of its statements.
    const keys = signers.map(({ key }) => key).filter((key, i, all) => all.findIndex((one) => one.equals(key)) === i)

    return (statement) => {
        const kept = known.get(statement)
        if (kept) return kept
        const key = keys.find((one) => isSignedBy(statement, one))
        const found = key ? signers.filter((signer) => signer.key.equals(key)) : []
        known.set(statement, found)
        return found
    }
}

/**
 * @returns finds the key that signed a statement; throws AttestError ERR_TDX_COLLATERAL, and ERR_TDX_COLLATERAL_TIME or
 * ERR_TDX_REVOKED where only a certificate that does not hold at the time names it
 */
export function statementVerifier(anchors: Anchors, lists: RevocationLists, signersOf: SignerFinder) {
    return function verifyStatement<T>(statement: Statement<T>, at: Date): Verified<T> {
        const signers = signersOf(statement)
        const [first] = signers
        if (!first)
            throw tdxError(
                'ERR_TDX_COLLATERAL',
                anchors.signers.length > 0
                    ? `${statement.name} is not signed by any key that a trusted root vouches for`
                    : `${statement.name}: no certificate of the key that signed it was given, or none that leads to a trusted root`,
                { hint: fetchHint() },
            )
        const signer = signers.find(({ notBefore, notAfter }) => notBefore <= at && at <= notAfter) ?? first
        checkSigner(signer, lists, at)
        return { ...statement, signer }
    }
}

function checkSigner(signer: Issued, lists: RevocationLists, at: Date): void {
    const wrong = outOfTime(signer.cn, signer, at) ?? outOfTime(signer.root.cn, signer.root, at)
    if (wrong !== null) throw tdxError('ERR_TDX_COLLATERAL_TIME', wrong)
    checkNotRevoked(signer.root, [signer], lists, at)
}

const isSignedBy = ({ signed, signature }: Statement<unknown>, key: Issued['key']): boolean =>
    verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)

function best<T>(among: readonly Statement<T>[], weigh: (body: T) => readonly [number, number]) {
    const weighed = among.map((statement) => ({ statement, weight: weigh(statement.body) }))
    weighed.sort(({ weight: a }, { weight: b }) => b[0] - a[0] || b[1] - a[1])
    return weighed[0]?.statement
}

/**
 * What a service answers, if it is one statement and its signature, and nothing beside.
 * @throws AttestError ERR_TDX_COLLATERAL, ERR_JSON
 */
export function readAnswer(answer: NamedBytes, member: 'tcbInfo' | 'enclaveIdentity'): NamedBytes {
    const members = Object.keys(parse(answer.bytes, answer.name).value)
    if (members.length === 2 && members.includes(member) && members.includes('signature')) return answer
    throw tdxError(
        'ERR_TDX_COLLATERAL',
        `${answer.name}: expected ${member} and signature alone, got ${members.join(', ')}`,
    )
}

function readFile({ name, bytes }: NamedBytes): Partial<Statements> {
    const { text, value } = parse(bytes, name)
    const members = value as Readonly<Record<string, unknown>>
    if (Object.hasOwn(members, 'tcbInfo')) return readTcbInfoText(signedMember(text, 'tcbInfo', members, name))
    if (Object.hasOwn(members, 'enclaveIdentity'))
        return readIdentityText(signedMember(text, 'enclaveIdentity', members, name))
    if (Object.hasOwn(members, 'tcbEvaluationDataNumbers')) return { others: [`${name}: evaluation numbers`] }
    if (Object.hasOwn(members, 'tcb_info')) return readBundle(members, name)
    throw tdxError(
        'ERR_TDX_COLLATERAL',
        `${name}: expected tcbInfo, enclaveIdentity or a bundle of ${BUNDLE_STRINGS.length} fields`,
    )
}

interface SignedText {
    readonly name: string
    readonly text: string
    readonly signature: unknown
}

function signedMember(text: string, member: string, all: Readonly<Record<string, unknown>>, name: string): SignedText {
    const own = memberText(text, member)
    if (own === undefined) throw tdxError('ERR_TDX_COLLATERAL', `${name}: ${member} is not written in its plain form`)
    return { name, text: own, signature: all['signature'] }
}

function readBundle(members: Readonly<Record<string, unknown>>, name: string): Statements {
    const missing = BUNDLE_STRINGS.filter((field) => typeof members[field] !== 'string')
    if (missing.length > 0) throw tdxError('ERR_TDX_COLLATERAL', `${name}: expected text in ${missing.join(', ')}`)
    const bundle = members as Bundle
    const info = readTcbInfoText({ name, text: bundle.tcb_info, signature: bundle.tcb_info_signature })
    const identity = readIdentityText({ name, text: bundle.qe_identity, signature: bundle.qe_identity_signature })
    const chains = ['pck_crl_issuer_chain', 'tcb_info_issuer_chain', 'qe_identity_issuer_chain'] as const
    const lists = ['root_ca_crl', 'pck_crl'] as const
    return {
        tcbInfos: info.tcbInfos ?? [],
        qeIdentities: identity.qeIdentities ?? [],
        certificates: chains.flatMap((field) => parseCertificates(Buffer.from(bundle[field]), `${name}: ${field}`)),
        revocationLists: lists.map((field) => ({ name: `${name}: ${field}`, bytes: Buffer.from(bundle[field]) })),
        others: [...(info.others ?? []), ...(identity.others ?? [])],
    }
}

// Those of SGX come from the same service, and may lie in the same folder.
function readTcbInfoText({ name, text, signature }: SignedText): Partial<Statements> {
    const { value } = parse(text, name)
    const { id, fmspc } = value as { id?: unknown; fmspc?: unknown }
    if (id !== 'TDX') return { others: [`${name}: TCB info of ${String(id ?? 'SGX')} for ${String(fmspc)}`] }
    return { tcbInfos: [{ name, body: readTcbInfo(value, name), ...signedBytes(text, signature, name) }] }
}

function readIdentityText({ name, text, signature }: SignedText): Partial<Statements> {
    const { value } = parse(text, name)
    const { id } = value as { id?: unknown }
    if (id !== 'TD_QE') return { others: [`${name}: identity of the enclave ${String(id)}`] }
    return { qeIdentities: [{ name, body: readQeIdentity(value, name), ...signedBytes(text, signature, name) }] }
}

function signedBytes(text: string, signature: unknown, name: string) {
    if (typeof signature !== 'string' || !/^[0-9a-fA-F]{128}$/.test(signature))
        throw tdxError('ERR_TDX_COLLATERAL', `${name}: signature: expected 128 hex digits`)
    return { signed: Buffer.from(text), signature: Buffer.from(signature, 'hex') }
}

function parse(source: Buffer | string, title: string): { readonly text: string; readonly value: object } {
    const text = typeof source === 'string' ? source : source.toString('utf8')
    // From the bytes, so that what is not UTF-8 is refused.
    const value = parseJson(source, { title, maxBytes: MAX_BYTES })
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { text, value }
    throw tdxError('ERR_TDX_COLLATERAL', `${title}: expected a JSON object`)
}
