// Intel's statements: which of those that were given is judged by, and every one that must be refused.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { NamedBytes } from '#evidence/verifier.ts'
import { bundle, qeIdentity, signStatement, statementText, tcbInfo } from '#plugins/tdx/mint/statements.ts'
import { identityOf, infoOf, named, vendor, wrap } from './minted.ts'
import { cases, judgedBy, type Refused, testAuthentic, testRefused } from './refused.ts'

const DAY = 24 * 3_600_000
const intel = await vendor()
const foreign = await vendor()
const { certificates, keys, now } = intel
const later = (days: number): Date => new Date(now.getTime() + days * DAY)
const judged = judgedBy(intel)

const info = (changed: Readonly<Record<string, unknown>>) => ({
    statements: [infoOf(intel, changed), identityOf(intel)],
})
const identity = (changed: Readonly<Record<string, unknown>>) => ({
    statements: [infoOf(intel), identityOf(intel, changed)],
})
const isoTime = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`
const content = tcbInfo(now)
const signedInfo = signStatement(content, keys.tcbSigning)
const rewritten = (inner: string): { statements: NamedBytes[] } => ({
    statements: [wrap('tcbInfo', { inner, signature: signedInfo.signature }), identityOf(intel)],
})
const fresh = (text: string): { statements: NamedBytes[] } => ({
    statements: [wrap('tcbInfo', signStatement(text, keys.tcbSigning)), identityOf(intel)],
})

testAuthentic(intel, [
    {
        name: 'everything in a bundle',
        trust: {
            certificates: [],
            revocationLists: [],
            statements: [
                named(
                    'bundle.json',
                    JSON.stringify(
                        bundle(certificates, intel.lists, signedInfo, signStatement(qeIdentity(now), keys.tcbSigning)),
                    ),
                ),
            ],
        },
    },
    {
        name: 'statements of others beside',
        trust: {
            statements: [
                infoOf(intel, { fmspc: '001122334455' }),
                infoOf(intel, { id: 'SGX' }),
                identityOf(intel, { id: 'QE' }),
                infoOf(intel),
                identityOf(intel),
                named('numbers.json', '{"tcbEvaluationDataNumbers":{},"signature":""}'),
            ],
        },
    },
    {
        name: 'spaces around what is signed, and braces in its strings',
        trust: {
            statements: [
                named(
                    'spaced.json',
                    (() => {
                        const inner = `{ "x" : "}{\\"]", ${JSON.stringify(content).slice(1)}`
                        const { signature } = signStatement(inner, keys.tcbSigning)
                        return `\n{ "signature" : "${signature}" ,\n "tcbInfo" :  ${inner} \n}\n`
                    })(),
                ),
                identityOf(intel),
            ],
        },
    },
    {
        name: 'expired and future statements beside current ones',
        trust: {
            statements: [
                infoOf(intel, { issueDate: isoTime(later(-60)), nextUpdate: isoTime(later(-30)) }),
                infoOf(intel, { issueDate: isoTime(later(1)), nextUpdate: isoTime(later(30)) }),
                infoOf(intel),
                identityOf(intel),
            ],
        },
    },
    {
        name: 'forged statements of higher numbers beside good ones',
        trust: {
            statements: [
                infoOf(foreign, { tcbEvaluationDataNumber: 500 }),
                identityOf(foreign, { tcbEvaluationDataNumber: 500 }),
                infoOf(intel),
                identityOf(intel),
            ],
        },
    },
])

test('statements that are passed over are told', (t) => {
    const forged = named('forged.json', infoOf(foreign, { tcbEvaluationDataNumber: 500 }).bytes)
    const { checks } = judged({ name: '', trust: { statements: [forged, infoOf(intel), identityOf(intel)] } })
    const told = checks.list.find(({ name }) => name === 'collateral')?.detail ?? ''
    t.regex(told, /PASSED OVER, .*: forged\.json$/)
})

const CASES: readonly Refused[] = [
    ...cases('ERR_TDX_COLLATERAL_TIME', 'collateral-time', [
        { name: 'expired TCB info', trust: info({ issueDate: isoTime(later(-60)), nextUpdate: isoTime(later(-30)) }) },
        {
            name: 'an expired identity',
            trust: identity({ issueDate: isoTime(later(-60)), nextUpdate: isoTime(later(-30)) }),
        },
    ]),
    ...cases('ERR_TDX_COLLATERAL_TIME', 'collateral', [
        { name: 'TCB info of the future', trust: info({ issueDate: isoTime(later(1)) }) },
        { name: 'an identity of the future', trust: identity({ issueDate: isoTime(later(1)) }) },
    ]),
    ...cases('ERR_TDX_COLLATERAL_MISSING', 'tcb-status', [
        { name: 'no statements', trust: { statements: [] } },
        { name: 'no TCB info', trust: { statements: [identityOf(intel)] } },
        { name: 'no identity', trust: { statements: [infoOf(intel)] } },
        { name: 'TCB info for another FMSPC', trust: info({ fmspc: '001122334455' }) },
        { name: 'TCB info of SGX', trust: info({ id: 'SGX' }) },
        { name: 'the identity of the SGX QE', trust: identity({ id: 'QE' }) },
    ]),
    ...cases('ERR_TDX_COLLATERAL', 'collateral', [
        { name: 'TCB info for another PCE', trust: info({ pceId: '0001' }) },
        { name: 'written again', trust: rewritten(JSON.stringify(content, null, 1)) },
        {
            name: 'an advisory less',
            trust: rewritten(signedInfo.inner.replace('EMULATED-SA-00001', 'EMULATED-SA-00000')),
        },
        { name: 'signed by another', trust: { statements: [infoOf(foreign), identityOf(intel)] } },
        { name: 'an identity signed by another', trust: { statements: [infoOf(intel), identityOf(foreign)] } },
        { name: 'no certificate of the signer', trust: { certificates: [] } },
        {
            name: 'the signer of another',
            trust: { certificates: [named('signer', foreign.certificates.tcbSigning)] },
        },
        { name: 'signed by the PCK CA', trust: { certificates: [named('ca', certificates.platform)] } },
    ]),
    ...cases('ERR_TDX_COLLATERAL', 'chain', [
        { name: 'TCB info of version 2', trust: info({ version: 2 }) },
        { name: 'TCB type 1', trust: info({ tcbType: 1 }) },
        { name: 'an identity of version 1', trust: identity({ version: 1 }) },
        { name: 'no levels', trust: info({ tcbLevels: [] }) },
        { name: 'a status that nobody knows', trust: fresh(signedInfo.inner.replace('"SWHardeningNeeded"', '"Fine"')) },
        { name: 'fifteen components', trust: fresh(signedInfo.inner.replace('[{"svn":5},', '[')) },
        { name: 'an SVN of 256', trust: fresh(signedInfo.inner.replace('"svn":5', '"svn":256')) },
        { name: 'a date that does not exist', trust: info({ nextUpdate: '2026-13-01T00:00:00Z' }) },
        {
            name: 'no signature',
            trust: { statements: [named('x', `{"tcbInfo":${signedInfo.inner}}`), identityOf(intel)] },
        },
        {
            name: 'a short signature',
            trust: { statements: [wrap('tcbInfo', { ...signedInfo, signature: '00' }), identityOf(intel)] },
        },
        {
            name: 'a member whose name is written with an escape',
            trust: {
                statements: [
                    named('x', statementText('tcbInfo', signedInfo).replace('tcbInfo', 'tcb\\u0049nfo')),
                    identityOf(intel),
                ],
            },
        },
        { name: 'JSON of something else', trust: { statements: [named('x', '{"a":1}')] } },
        { name: 'a bundle with a field missing', trust: { statements: [named('x', '{"tcb_info":"{}"}')] } },
    ]),
    ...cases('ERR_JSON', 'chain', [
        { name: 'no JSON', trust: { statements: [named('x', '{')] } },
        {
            name: 'a key that stands twice in what is signed',
            trust: fresh(`{"id":"SGX",${signedInfo.inner.slice(1)}`),
        },
        { name: 'two statements in one', trust: fresh(`${signedInfo.inner},"tcbInfo":${signedInfo.inner}`) },
        {
            name: 'nested deeper than 32',
            trust: fresh(`{"x":${'['.repeat(32)}${']'.repeat(32)},${signedInfo.inner.slice(1)}`),
        },
        { name: 'more than 256 KiB', trust: fresh(`{"x":"${'a'.repeat(256 << 10)}",${signedInfo.inner.slice(1)}`) },
        {
            name: 'text that is not UTF-8',
            trust: { statements: [{ name: 'x', bytes: Buffer.from('{"tcbInfo":{"x":"\xff"}}', 'latin1') }] },
        },
    ]),
]

testRefused(intel, CASES)

test('the highest evaluation number wins among statements that hold, then the newest', (t) => {
    const numbered = (number: number, issued: Date, status: string) =>
        infoOf(
            intel,
            {
                tcbLevels: (content['tcbLevels'] as object[])
                    .slice(0, 1)
                    .map((level) => ({ ...level, tcbStatus: status })),
            },
            { times: { tcbEvaluationDataNumber: number, issueDate: issued } },
        )
    const statusOf = (...infos: NamedBytes[]) => {
        const { authentic } = judged({ name: '', trust: { statements: [...infos, identityOf(intel)] } })
        return [authentic?.platform.tcbStatus, authentic?.platform.tcbInfoEvaluationDataNumber]
    }
    const old = numbered(18, later(-20), 'UpToDate')
    const newer = numbered(18, later(-2), 'SWHardeningNeeded')
    const higher = numbered(19, later(-10), 'OutOfDate')
    const expiredHigher = numbered(20, later(-900), 'Revoked')
    t.deepEqual(statusOf(old, newer), ['SWHardeningNeeded', 18])
    t.deepEqual(statusOf(newer, old), ['SWHardeningNeeded', 18])
    t.deepEqual(statusOf(higher, newer, old), ['OutOfDate', 19])
    t.deepEqual(statusOf(old, expiredHigher), ['UpToDate', 18])
})
