// Intel's collateral for whoever keeps it: fetched and verified before anybody writes it, described with its expiry,
// and joined into one file. What a quote needs is worked out with the same steps that judge it.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, coreError } from '#core/errors.ts'
import { parseCertificates } from '#core/x509.ts'
import type {
    CollateralDeps,
    CollateralFile,
    CollateralService,
    CollateralWanted,
    Outlook,
} from '#evidence/collateral-service.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Issued } from './chain.ts'
import { type Dated, fmspcOf } from './collateral.ts'
import { makeBundle } from './collateral-bundle.ts'
import {
    describeCollateral,
    fmspcsOf,
    judgeOutlook,
    type OpenedCollateral,
    openCollateral,
} from './collateral-outlook.ts'
import { tdxError } from './errors.ts'
import { PCK_CAS, PCK_CN, readPck } from './pck.ts'
import { type Answer, ask, type PckCa, SOURCES, UPDATES } from './pcs.ts'
import { parseQuote } from './quote.ts'
import { checkNotRevoked } from './revocation.ts'
import { listDer } from './revocation-form.ts'

const FMSPC = /^[0-9a-f]{12}$/i

export const tdxCollateral: CollateralService = {
    platform: { option: 'fmspc', describe: 'TDX: a platform, by the 12 hex digits of its FMSPC; may be repeated' },
    sources: Object.fromEntries(Object.entries(SOURCES).map(([name, { title }]) => [name, title])),
    updates: UPDATES,
    readPlatform(text) {
        if (FMSPC.test(text)) return text.toLowerCase()
        throw coreError('ERR_USAGE', `--fmspc: expected 12 hex digits, got ${JSON.stringify(text)}`)
    },
    platformOf: ({ report }) => {
        const { certification } = parseQuote(report)
        const pck = parseCertificates(certification.data, 'certificates of the quote').find(
            ({ subjectCn }) => subjectCn === PCK_CN,
        )
        if (!pck) throw tdxError('ERR_TDX_CERTIFICATION', 'the quote brings no PCK certificate')
        return readPck(pck).fmspc
    },
    fetch: fetchCollateral,
    platformsIn: (given) => [...new Set(fmspcsOf(openCollateral(given)))],
    describe: describeCollateral,
    outlook(given, evidence, at): Outlook {
        const platform = tdxCollateral.platformOf(evidence)
        return { platform, ...judgeOutlook(openCollateral(given), parseQuote(evidence.report), at) }
    },
    bundle: (given, platform, at) => makeBundle(given, platform, at),
}

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

async function fetchCollateral(wanted: CollateralWanted, deps: CollateralDeps): Promise<CollateralFile[]> {
    const { platform: fmspc, source, update } = wanted
    const question = { fmspc, source, update, ca: 'platform' } as const
    const [info, identity, rootCrl, platformCrl, processorCrl] = await Promise.all([
        ask('tcbInfo', question, deps.get),
        ask('qeIdentity', question, deps.get),
        ask('rootCrl', question, deps.get),
        ask('pckCrl', question, deps.get),
        // Few platforms with TDX have their PCK from it: a service need not know it.
        ask('pckCrl', { ...question, ca: 'processor' }, deps.get).catch(unlessMissing),
    ])
    const lists = { platform: platformCrl, ...(processorCrl ? { processor: processorCrl } : {}) }
    const files: CollateralFile[] = [
        { name: FILES.tcbChain(fmspc), bytes: info.chain },
        { name: FILES.qeChain, bytes: identity.chain },
        ...Object.entries(lists).map(([ca, { chain }]) => ({ name: FILES.pckChain(ca as PckCa), bytes: chain })),
        { name: FILES.rootCrl, bytes: listDer(rootCrl.body) },
        ...Object.entries(lists).map(([ca, { body }]) => ({ name: FILES.pckCrl(ca as PckCa), bytes: listDer(body) })),
        { name: FILES.qeIdentity, bytes: identity.body },
        { name: FILES.tcbInfo(fmspc), bytes: info.body },
    ]
    checkFetched(wanted, { info, identity, rootCrl, lists }, deps.now)
    return files
}

interface Fetched {
    readonly info: Answer
    readonly identity: Answer
    readonly rootCrl: Answer
    readonly lists: Readonly<Partial<Record<PckCa, Answer>>>
}

// What nobody could judge by is not written: a cache or a mirror is trusted for nothing.
function checkFetched({ platform, source, present }: CollateralWanted, fetched: Fetched, at: Date): void {
    const { info, identity, rootCrl, lists } = fetched
    const named = ({ what, body }: Answer): NamedBytes => ({ name: `${what} from ${source}`, bytes: body })
    const chain = ({ what, chain: bytes }: Answer): NamedBytes => ({ name: `issuers of ${what}`, bytes })
    const opened = openCollateral({
        ...(present.roots ? { roots: present.roots } : {}),
        certificates: [info, identity, ...Object.values(lists)].map(chain),
        revocationLists: [rootCrl, ...Object.values(lists)].map(named),
        statements: [named(info), named(identity)],
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
    const old = openCollateral(present).statements
    for (const [statement, among] of [
        [tcbInfo, old.tcbInfos.filter(({ body }) => fmspcOf(body) === platform)],
        [qeIdentity, old.qeIdentities],
    ] as const) {
        const { name, body } = statement
        opened.verifyStatement<Dated>(statement, at)
        checkDates(name, body.issueDate, body.nextUpdate, at)
        const newer = among.find(({ body: other }) => other.issueDate > body.issueDate)
        if (newer)
            throw tdxError('ERR_TDX_COLLATERAL', `${name} is of ${day(body.issueDate)}, older than ${newer.name}`, {
                hint: 'the service lags behind, or hides what is new: name another one with --from',
            })
    }
    checkLists(opened, Object.keys(lists) as PckCa[], at)
}

function checkLists(opened: OpenedCollateral, cas: readonly PckCa[], at: Date): void {
    const { anchors, lists } = opened
    for (const ca of cas) {
        const issuer = anchors.cas.find(({ cn }) => cn === caNamed(ca))
        if (!issuer)
            throw tdxError('ERR_TDX_CHAIN', `no certificate of ${caNamed(ca)} that a trusted root vouches for came`)
        for (const [authority, subjects] of [
            [issuer.root, [issuer, issuer.root]],
            [issuer, []],
        ] as const) {
            const newest = checkNotRevoked(authority, subjects as readonly Issued[], lists, at)
            if (!newest) throw tdxError('ERR_TDX_CRL_MISSING', `no revocation list of ${authority.cn} came`)
            if (at > newest.nextUpdate) throw expired(newest.name, newest.nextUpdate, at)
        }
    }
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

const day = (date: Date): string => date.toISOString().slice(0, 10)

function unlessMissing(error: unknown): null {
    if (error instanceof AttestError && error.code === 'ERR_TDX_COLLATERAL_MISSING') return null
    throw error
}
