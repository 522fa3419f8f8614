// Intel's collateral from a service, which is trusted for nothing: what comes is verified, must not be older than what is
// there and verifies too, and is written anew, so that nothing is kept but what was verified.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes } from '#core/bytes.ts'
import { day } from '#core/dates.ts'
import { AttestError } from '#core/errors.ts'
import { type Certificate, parseCertificates, parseRevocationList } from '#core/x509.ts'
import type { CollateralDeps, CollateralFile, CollateralWanted, GivenCollateral } from '#evidence/collateral-service.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Authority, Issued } from '../chain.ts'
import { tdxError } from '../errors.ts'
import { PCK_CAS } from '../pck.ts'
import { pem } from './bundle.ts'
import { type Dated, fmspcOf, readAnswer, readStatements, type Statement, statementVerifier } from './collateral.ts'
import { type OpenedCollateral, openCollateral } from './outlook.ts'
import { type Answer, ask, type PckCa } from './pcs.ts'
import { checkNotRevoked, type GivenList, type RevocationLists, readLists } from './revocation.ts'

/** The names of the CAs, by what the service calls them. */
const caNamed = (wanted: PckCa): string => Object.entries(PCK_CAS).find(([, { ca }]) => ca === wanted)?.[0] ?? wanted

/** The names of the files: the same for each fetch, so that the new one takes the place of the old. */
const FILES = {
    qeIdentity: 'tdx-qe-identity.json',
    qeChain: 'tdx-qe-identity-issuers.pem',
    rootCrl: 'tdx-root.crl',
    tcbInfo: (fmspc: string) => `tdx-tcb-info-${fmspc}.json`,
    tcbChain: (fmspc: string) => `tdx-tcb-info-${fmspc}-issuers.pem`,
    pckCrl: (ca: PckCa) => `tdx-pck-${ca}.crl`,
    pckChain: (ca: PckCa) => `tdx-pck-${ca}-issuers.pem`,
} as const

interface Answers {
    readonly info: Answer
    readonly identity: Answer
    readonly rootCrl: Answer
    readonly pckCrls: readonly (readonly [PckCa, Answer])[]
}

/** What came, read and verified. */
interface Fetched {
    readonly opened: OpenedCollateral
    readonly tcbInfo: Statement<Dated>
    readonly qeIdentity: Statement<Dated>
    readonly signers: readonly Issued[]
    /** Each with who signed it, and whom its signer must not revoke. */
    readonly lists: readonly { readonly authority: Authority; readonly subjects: readonly Issued[]; list: GivenList }[]
}

/** `CollateralService.fetch`. @throws AttestError as it says */
export async function fetchCollateral(wanted: CollateralWanted, deps: CollateralDeps): Promise<CollateralFile[]> {
    const answers = await askAll(wanted, deps)
    const fetched = openFetched(wanted, answers, deps.now)
    checkAges(wanted, fetched, openPresent(wanted.present, chainsOf(answers)), deps.now)
    const files = filesOf(wanted.platform, answers, fetched.opened)
    checkFiles(wanted, files, deps.now)
    return Object.values(files).flat()
}

async function askAll({ platform, source, update }: CollateralWanted, { get }: CollateralDeps): Promise<Answers> {
    const question = { fmspc: platform, source, update, ca: 'platform' } as const
    const [info, identity, rootCrl, platformCrl, processorCrl] = await Promise.all([
        ask('tcbInfo', question, get),
        ask('qeIdentity', question, get),
        ask('rootCrl', question, get),
        ask('pckCrl', question, get),
        // Few platforms with TDX have their PCK from it: a service need not know it.
        ask('pckCrl', { ...question, ca: 'processor' }, get).catch(unlessMissing),
    ])
    const processor = processorCrl ? ([['processor', processorCrl]] as const) : []
    return { info, identity, rootCrl, pckCrls: [['platform', platformCrl], ...processor] }
}

const chainsOf = ({ info, identity, pckCrls }: Answers): NamedBytes[] =>
    [info, identity, ...pckCrls.map(([, answer]) => answer)].map(({ what, chain: bytes }) => ({
        name: `issuers of ${what}`,
        bytes,
    }))

function openFetched({ platform, source, update, present }: CollateralWanted, answers: Answers, at: Date): Fetched {
    const named = ({ what, body }: Answer): NamedBytes => ({ name: `${what} from ${source}`, bytes: body })
    const opened = openCollateral({
        ...(present.roots ? { roots: present.roots } : {}),
        certificates: chainsOf(answers),
        revocationLists: [answers.rootCrl, ...answers.pckCrls.map(([, answer]) => answer)].map(named),
        statements: [
            readAnswer(named(answers.info), 'tcbInfo'),
            readAnswer(named(answers.identity), 'enclaveIdentity'),
        ],
    })
    const { statements } = opened
    const [tcbInfo] = statements.tcbInfos
    const [qeIdentity] = statements.qeIdentities
    if (!tcbInfo || !qeIdentity || statements.others.length > 0)
        throw tdxError(
            'ERR_TDX_COLLATERAL',
            `${source} answers with ${statements.others.join(', ') || 'something else'}`,
        )
    const fmspc = fmspcOf(tcbInfo.body)
    if (fmspc !== platform)
        throw tdxError('ERR_TDX_COLLATERAL', `${source} answers with TCB info of ${fmspc}, ${platform} was asked for`)
    const asked = numberOf(update)
    const signers = [tcbInfo, qeIdentity].map((statement: Statement<Dated>) => {
        const { name, body } = statement
        const { signer } = opened.verifyStatement(statement, at)
        checkDates(name, body.issueDate, body.nextUpdate, at)
        if (asked !== null && body.tcbEvaluationDataNumber !== asked)
            throw tdxError(
                'ERR_TDX_COLLATERAL',
                `${name} has evaluation number ${body.tcbEvaluationDataNumber}, ${asked} was asked for`,
            )
        return signer
    })
    return { opened, tcbInfo, qeIdentity, signers, lists: listsOf(opened, answers.pckCrls, at) }
}

/** Each answer must be the list of the authority that it was asked for. */
function listsOf({ anchors, lists }: OpenedCollateral, pckCrls: Answers['pckCrls'], at: Date): Fetched['lists'] {
    const [rootList, ...pckLists] = lists as readonly [GivenList, ...GivenList[]]
    return pckCrls.flatMap(([wanted], i) => {
        const list = pckLists[i] as GivenList
        const issuers = anchors.cas.filter(({ cn }) => cn === caNamed(wanted))
        const issuer = issuers.find((one) => list.signedBy(one)) ?? issuers[0]
        if (!issuer)
            throw tdxError('ERR_TDX_CHAIN', `no certificate of ${caNamed(wanted)} that a trusted root vouches for came`)
        const own = [
            { authority: issuer.root, subjects: [issuer], list: rootList },
            { authority: issuer, subjects: [], list },
        ]
        for (const { authority, subjects, list } of own) {
            const newest = checkNotRevoked(authority, subjects, [list], at)
            if (!newest) throw tdxError('ERR_TDX_CRL_MISSING', `no revocation list of ${authority.cn} came`)
            if (at > newest.nextUpdate) throw expired(newest.name, newest.nextUpdate, at)
        }
        return own
    })
}

/**
 * What is there and verifies. What cannot be read is passed over: it must not keep away what replaces it. The chains that
 * came help, and can only lead to a root.
 */
function openPresent(present: GivenCollateral, chains: readonly NamedBytes[]): OpenedCollateral {
    const given = readableOf(present)
    const opened = openCollateral({ ...given, certificates: [...given.certificates, ...chains] })
    const authorities: readonly Authority[] = [...opened.anchors.roots, ...opened.anchors.cas]
    const lists = opened.lists.filter((list) => authorities.some((authority) => isOf(list, authority)))
    return { ...opened, lists, verifyStatement: statementVerifier(opened.anchors, lists, opened.signersOf) }
}

/** Those of the files that can be read. */
export function readableOf(given: GivenCollateral): GivenCollateral {
    const where = (read: (file: NamedBytes) => unknown) => (file: NamedBytes) => tried(() => read(file))
    return {
        ...given,
        certificates: given.certificates.filter(where(({ bytes, name }) => parseCertificates(bytes, name))),
        revocationLists: given.revocationLists.filter(where((file) => readLists([file]))),
        statements: given.statements.filter(where((file) => readLists(readStatements([file]).revocationLists))),
    }
}

// Nothing takes the place of what is newer: signatures alone do not say that a service shows all that there is.
function checkAges(
    { platform, update }: CollateralWanted,
    fetched: Fetched,
    present: OpenedCollateral,
    at: Date,
): void {
    const { opened, tcbInfo, qeIdentity, signers, lists } = fetched
    const all: RevocationLists = [...opened.lists, ...present.lists]
    for (const signer of signers) checkNotRevoked(signer.root, [signer], all, at)
    for (const { authority, subjects, list } of lists) {
        checkNotRevoked(authority, subjects, all, at)
        const newer = present.lists.find((old) => isOf(old, authority) && isOlder(list, old))
        if (newer) throw older(`${list.name} (${describe(list)}) is`, `${newer.name} (${describe(newer)})`)
    }
    const { tcbInfos, qeIdentities } = present.statements
    for (const [statement, among] of [
        [tcbInfo, tcbInfos.filter(({ body }) => fmspcOf(body) === platform)],
        [qeIdentity, qeIdentities],
    ] as const)
        checkAge(
            statement,
            among.filter((old) => tried(() => present.verifyStatement<Dated>(old, at))),
            numberOf(update) !== null,
        )
}

function checkAge({ name, body }: Statement<Dated>, present: readonly Statement<Dated>[], isNamed: boolean): void {
    const number = body.tcbEvaluationDataNumber
    for (const { name: other, body: old } of present) {
        if (old.tcbEvaluationDataNumber > number && !isNamed)
            throw tdxError(
                'ERR_TDX_COLLATERAL',
                `${name} has evaluation number ${number}, lower than the ${old.tcbEvaluationDataNumber} of ${other}`,
                { hint: `${LAGS}; --update ${number} goes back to it` },
            )
        // A set that was named may be older than the others.
        if (old.issueDate > body.issueDate && (!isNamed || old.tcbEvaluationDataNumber === number))
            throw older(`${name} is of ${day(body.issueDate)},`, other)
    }
}

const isOf = ({ list, signedBy }: GivenList, authority: Authority): boolean =>
    equalBytes(list.issuerName, authority.name) && signedBy(authority)

const isOlder = ({ list }: GivenList, { list: than }: GivenList): boolean =>
    list.thisUpdate < than.thisUpdate ||
    (list.number !== null && than.number !== null && BigInt(list.number) < BigInt(than.number))

const describe = ({ list }: GivenList): string =>
    `${list.number === null ? '' : `number ${list.number}, `}of ${day(list.thisUpdate)}`

/** By what is in them. */
interface Files {
    readonly certificates: readonly CollateralFile[]
    readonly revocationLists: readonly CollateralFile[]
    readonly statements: readonly CollateralFile[]
}

/** In the order in which they are written. */
function filesOf(fmspc: string, answers: Answers, { anchors, statements }: OpenedCollateral): Files {
    const issued = [...anchors.signers, ...anchors.cas].map(({ certificate }) => certificate)
    const leads = (one: Certificate): boolean =>
        issued.some(({ der }) => equalBytes(der, one.der)) || anchors.roots.some((root) => isRoot(one, root))
    const chain = ({ what, chain: bytes }: Answer): Buffer => {
        const own = parseCertificates(bytes, what).filter(leads).map(pem)
        return Buffer.from([...new Set(own)].join(''))
    }
    const list = ({ what, body }: Answer): Buffer => parseRevocationList(body, what).der
    const text = (member: string, [statement]: readonly Statement<unknown>[]): Buffer => {
        if (!statement) throw new TypeError('nothing was verified?')
        return Buffer.from(`{"${member}":${statement.signed},"signature":"${statement.signature.toString('hex')}"}\n`)
    }
    return {
        certificates: [
            { name: FILES.tcbChain(fmspc), bytes: chain(answers.info) },
            { name: FILES.qeChain, bytes: chain(answers.identity) },
            ...answers.pckCrls.map(([ca, answer]) => ({ name: FILES.pckChain(ca), bytes: chain(answer) })),
        ],
        revocationLists: [
            { name: FILES.rootCrl, bytes: list(answers.rootCrl) },
            ...answers.pckCrls.map(([ca, answer]) => ({ name: FILES.pckCrl(ca), bytes: list(answer) })),
        ],
        statements: [
            { name: FILES.qeIdentity, bytes: text('enclaveIdentity', statements.qeIdentities) },
            { name: FILES.tcbInfo(fmspc), bytes: text('tcbInfo', statements.tcbInfos) },
        ],
    }
}

const isRoot = ({ subjectCn, publicKey, x509 }: Certificate, { cn, key }: Authority): boolean =>
    subjectCn === cn && publicKey.equals(key) && x509.verify(key)

// What will be read is what was verified, or it is not written.
function checkFiles({ platform, present: { roots } }: CollateralWanted, files: Files, at: Date): void {
    const opened = openCollateral({ ...files, ...(roots ? { roots } : {}) })
    const { tcbInfos, qeIdentities } = opened.statements
    for (const statement of [...tcbInfos, ...qeIdentities]) opened.verifyStatement<Dated>(statement, at)
    if (tcbInfos.length !== 1 || qeIdentities.length !== 1 || !tcbInfos.every(({ body }) => fmspcOf(body) === platform))
        throw new TypeError('what would be written is not what was verified')
}

function checkDates(name: string, issued: Date, expires: Date, at: Date): void {
    if (issued > at)
        throw tdxError(
            'ERR_TDX_COLLATERAL_TIME',
            `${name} is of ${issued.toISOString()}, the time is ${at.toISOString()}`,
        )
    if (expires < at) throw expired(name, expires, at)
}

const expired = (name: string, expires: Date, at: Date) =>
    tdxError('ERR_TDX_COLLATERAL_TIME', `${name} expired at ${expires.toISOString()}, the time is ${at.toISOString()}`)

const LAGS = 'the service lags behind, or hides what is new: name another one with --from'

const older = (what: string, than: string) =>
    tdxError('ERR_TDX_COLLATERAL', `${what} older than ${than}`, { hint: LAGS })

/** The evaluation number that was asked for; null for a set by its word. */
const numberOf = (update: string): number | null => (/^\d+$/.test(update) ? Number(update) : null)

function tried(check: () => unknown): boolean {
    try {
        check()
        return true
    } catch (error) {
        if (error instanceof AttestError) return false
        throw error
    }
}

function unlessMissing(error: unknown): null {
    if (error instanceof AttestError && error.code === 'ERR_TDX_COLLATERAL_MISSING') return null
    throw error
}
