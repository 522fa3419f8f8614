// What Intel's collateral is good for, and until when: each thing that expires, and the first of those that a quote
// needs.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from '#core/errors.ts'
import { type Certificate, parseCertificates } from '#core/x509.ts'
import type { CollateralItem, GivenCollateral, Outlook } from '#evidence/collateral-service.ts'
import { type Anchors, type Authority, chainReader, readAnchors } from '../chain.ts'
import { tdxError } from '../errors.ts'
import { PCK_CAS } from '../pck.ts'
import type { Quote } from '../quote.ts'
import { VENDOR_ROOT } from '../roots.ts'
import {
    type Dated,
    fmspcOf,
    readStatements,
    type SignerFinder,
    type Statement,
    type Statements,
    signerFinder,
    statementsFor,
    statementVerifier,
} from './collateral.ts'
import { checkRevocation, type RevocationLists, readLists } from './revocation.ts'

/** Collateral that was read, with those who vouch for it. */
export interface OpenedCollateral {
    readonly statements: Statements
    readonly anchors: Anchors
    readonly lists: RevocationLists
    readonly signersOf: SignerFinder
    readonly verifyStatement: ReturnType<typeof statementVerifier>
    /** Every certificate, whoever issued it. */
    readonly certificates: readonly Certificate[]
}

/** @throws AttestError ERR_TDX_COLLATERAL, ERR_TDX_CRL, ERR_JSON, ERR_CERTIFICATE */
export function openCollateral({
    roots,
    certificates,
    revocationLists,
    statements: files,
}: GivenCollateral): OpenedCollateral {
    const statements = readStatements(files)
    const anchors = readAnchors({ certificates, ...(roots ? { roots } : {}) }, statements.certificates)
    const lists = readLists([...revocationLists, ...statements.revocationLists])
    const signersOf = signerFinder(anchors)
    return {
        statements,
        anchors,
        lists,
        signersOf,
        verifyStatement: statementVerifier(anchors, lists, signersOf),
        certificates: [
            ...certificates.flatMap(({ name, bytes }) => parseCertificates(bytes, name)),
            ...statements.certificates,
            ...(roots ?? []).flatMap(({ name, bytes }) => parseCertificates(bytes, name)),
        ],
    }
}

/** The platforms that TCB info is there for. */
export const fmspcsOf = ({ statements }: OpenedCollateral): string[] =>
    statements.tcbInfos.map(({ body }) => fmspcOf(body))

/** Every statement, list and certificate, in the order in which they expire. */
export function describeCollateral(given: GivenCollateral, at: Date): CollateralItem[] {
    const opened = openCollateral(given)
    const items = [...statementItems(opened, at), ...listItems(opened), ...certificateItems(opened)]
    return items
        .map((item, index) => ({
            ...item,
            superseded: items.some((other, place) => replaces(other, item, place - index)),
        }))
        .toSorted((a, b) => a.expires.getTime() - b.expires.getTime())
}

type Item = Omit<CollateralItem, 'superseded'>

// Of two that are alike the later counts. What is refused is never replaced: a verifier may stumble over it.
const replaces = (other: Item, item: Item, after: number): boolean =>
    other.what === item.what &&
    other.problem === null &&
    item.problem === null &&
    (other.expires > item.expires || (other.expires.getTime() === item.expires.getTime() && after > 0))

function statementItems(opened: OpenedCollateral, at: Date): Item[] {
    const { tcbInfos, qeIdentities } = opened.statements
    const item = (what: string, statement: Statement<Dated>) => ({
        what,
        source: statement.name,
        issued: statement.body.issueDate,
        expires: statement.body.nextUpdate,
        detail: `evaluation number ${statement.body.tcbEvaluationDataNumber}`,
        problem: problemOf(() => opened.verifyStatement(statement, at)),
    })
    return [
        ...tcbInfos.map((statement) => item(`TCB info of ${fmspcOf(statement.body)}`, statement)),
        ...qeIdentities.map((statement) => item('QE identity', statement)),
    ]
}

function listItems({ lists, anchors }: OpenedCollateral): Item[] {
    const authorities: readonly Authority[] = [...anchors.roots, ...anchors.cas]
    // Those of other vendors may lie in the same folder.
    const own = lists.filter(({ list }) => list.issuerCn === VENDOR_ROOT.cn || Object.hasOwn(PCK_CAS, list.issuerCn))
    return own.map(({ name, list, signedBy }) => ({
        what: `revocation list of ${list.issuerCn}`,
        source: name,
        issued: list.thisUpdate,
        expires: list.nextUpdate,
        detail: `${list.revoked.size} revoked${list.number === null ? '' : `, number ${list.number}`}`,
        problem: authorities.some((authority) => authority.name.equals(list.issuerName) && signedBy(authority))
            ? null
            : `not signed by any ${list.issuerCn} that a trusted root vouches for`,
    }))
}

function certificateItems({ anchors }: OpenedCollateral): Item[] {
    const issued = new Map(
        [...anchors.signers, ...anchors.cas].map((one) => [one.certificate.der.toString('base64'), one]),
    )
    return [...issued.values()].map(({ cn, serial, notBefore, notAfter }) => ({
        what: `certificate of ${cn}`,
        source: `serial ${serial}`,
        issued: notBefore,
        expires: notAfter,
        detail: '',
        problem: null,
    }))
}

function problemOf(check: () => unknown): string | null {
    try {
        check()
        return null
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return messageOf(error)
    }
}

/** What this quote needs, by the first of it that expires. */
export function judgeOutlook(opened: OpenedCollateral, quote: Quote, at: Date): Omit<Outlook, 'platform'> {
    try {
        const [first] = needsOf(opened, quote, at).toSorted((a, b) => a.until.getTime() - b.until.getTime())
        if (!first) throw new TypeError('a quote needs nothing?')
        return { until: first.until, because: first.what }
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return { until: null, because: messageOf(error) }
    }
}

interface Need {
    readonly what: string
    readonly until: Date
}

function needsOf(opened: OpenedCollateral, quote: Quote, at: Date): Need[] {
    const { anchors, lists, verifyStatement } = opened
    const chain = chainReader(anchors)(quote.certification.data)
    const { pck, ca } = chain
    const until = ({ cn, notAfter }: Pick<Authority, 'cn' | 'notAfter'>): Need => ({
        what: `certificate of ${cn}`,
        until: notAfter,
    })
    const revocation = checkRevocation(chain, lists, at)
    const listNeeds = Object.entries({ root: ca.root, pck: ca }).map(([name, { cn }]) => {
        const list = revocation[name as keyof typeof revocation]
        if (!list) throw tdxError('ERR_TDX_CRL_MISSING', `no revocation list of ${cn} is there`)
        return { what: `revocation list of ${cn}`, until: list.nextUpdate }
    })
    const { tcbInfo, qeIdentity } = statementsFor(opened, pck, at)
    const needed = (what: string, chosen: Statement<Dated> | undefined): Need[] => {
        if (!chosen) throw tdxError('ERR_TDX_COLLATERAL_MISSING', `no ${what} is there`)
        const { signer } = verifyStatement(chosen, at)
        return [{ what, until: chosen.body.nextUpdate }, until(signer)]
    }
    return [
        until({ cn: pck.certificate.subjectCn, notAfter: pck.certificate.notAfter }),
        until(ca),
        until(ca.root),
        ...listNeeds,
        ...needed(`TCB info of ${pck.fmspc}`, tcbInfo),
        ...needed('QE identity', qeIdentity),
    ]
}
