// From evidence to a verdict: what the caller names decides between authentic and accepted, and every check is listed.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type Expectations, judge, padNonce, padReportData } from '#evidence/judge.ts'
import type { Verifier } from '#evidence/verifier.ts'
import { sources } from '#packaging/house.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { report, table, type Vendor, vendor, verifierOf } from '../plugins/snp/minted.ts'

const keys = await generateVendorKeys()
const genoa = await vendor('genoa', keys)
const other = await vendor('genoa', await generateVendorKeys())
const verifier = verifierOf(genoa)

const NONCE = Buffer.alloc(32, 7)
const evidenceOf = (of: Vendor, reportData = padNonce(NONCE)) => ({
    tee: 'snp',
    report: report(of, { reportData }),
    certificates: table(of),
})
const policy = (members: Record<string, unknown>) => verifier.readPolicy(members, 'test')
const OURS = policy({ measurements: [Buffer.alloc(48, 0x22).toString('hex')] })
const OTHERS = policy({ measurements: [Buffer.alloc(48, 0x23).toString('hex')] })

const { authentic, appraisal } = verifier.checkNames

/** A plugin that says of an emulator's evidence that the vendor vouches for it. */
const credulous: Verifier = {
    ...verifier,
    authenticate: (...args) => ({ ...verifier.authenticate(...args), customRoot: false }),
}

for (const { name, of = genoa, expected = {}, verdict, code, checks, by = verifier } of [
    { name: 'nothing expected', verdict: 'authentic', checks: authentic },
    { name: 'its nonce', expected: { nonce: padNonce(NONCE) }, verdict: 'accepted', checks: [...authentic, 'nonce'] },
    {
        name: 'its report data',
        expected: { reportData: padReportData(NONCE) },
        verdict: 'accepted',
        checks: [...authentic, 'report-data'],
    },
    {
        name: 'its policy',
        expected: { policy: OURS },
        verdict: 'accepted',
        checks: [...authentic, 'nonce', ...appraisal],
    },
    {
        name: 'all of these',
        expected: { nonce: padNonce(NONCE), reportData: padReportData(NONCE), policy: OURS },
        verdict: 'accepted',
        checks: [...authentic, 'report-data', 'nonce', ...appraisal],
    },
    {
        name: 'another nonce',
        expected: { nonce: padNonce(Buffer.alloc(32, 8)), policy: OURS },
        verdict: 'rejected',
        code: 'ERR_EVIDENCE_NONCE',
        checks: [...authentic, 'nonce', ...appraisal],
    },
    {
        name: 'its nonce, cut',
        expected: { nonce: padNonce(NONCE.subarray(1)) },
        verdict: 'rejected',
        code: 'ERR_EVIDENCE_NONCE',
        checks: [...authentic, 'nonce'],
    },
    {
        name: 'its nonce, not padded',
        expected: { nonce: NONCE },
        verdict: 'rejected',
        code: 'ERR_EVIDENCE_NONCE',
        checks: [...authentic, 'nonce'],
    },
    {
        name: 'other report data, and its nonce',
        expected: { reportData: Buffer.alloc(64), nonce: padNonce(NONCE) },
        verdict: 'rejected',
        code: 'ERR_EVIDENCE_REPORT_DATA',
        checks: [...authentic, 'report-data', 'nonce'],
    },
    {
        name: 'an emulator’s, under the root of a vendor',
        expected: { nonce: padNonce(NONCE), policy: OURS },
        verdict: 'rejected',
        code: 'ERR_EVIDENCE_EMULATED',
        checks: [...authentic, 'emulation', 'nonce', ...appraisal],
        by: credulous,
    },
    {
        name: 'another measurement',
        expected: { nonce: padNonce(NONCE), policy: OTHERS },
        verdict: 'rejected',
        code: 'ERR_SNP_POLICY_MEASUREMENT',
        checks: [...authentic, 'nonce', ...appraisal],
    },
    {
        name: 'all as it should be, but of another vendor',
        of: other,
        expected: { nonce: padNonce(NONCE), policy: OURS },
        verdict: 'rejected',
        checks: [...authentic, 'nonce', ...appraisal],
    },
    {
        name: 'all as it should be, and no revocation list',
        expected: { nonce: padNonce(NONCE), policy: OURS },
        by: verifierOf(genoa, { revocationLists: [] }),
        verdict: 'undecided',
        code: 'ERR_SNP_CRL_MISSING',
        checks: [...authentic, 'nonce', ...appraisal],
    },
] as {
    name: string
    of?: Vendor
    expected?: Expectations
    verdict: 'accepted' | 'authentic' | 'rejected' | 'undecided'
    code?: string
    checks: string[]
    by?: Verifier
}[])
    test(`${verdict}: ${name}`, (t) => {
        const judged = judge(by, evidenceOf(of), expected, genoa.now)
        t.is(judged.verdict, verdict, JSON.stringify(judged.checks))
        t.is(judged.tee, 'snp')
        if (code) t.is(judged.code, code)
        const passed = verdict === 'accepted' || verdict === 'authentic'
        t.is('code' in judged, !passed)
        t.is(judged.checks.length, checks.length, 'each check, once')
        t.deepEqual(new Set(judged.checks.map((check) => check.name)), new Set(checks))
        const failed = judged.checks.filter(({ result }) => result === 'fail')
        t.deepEqual(
            failed.map((check) => check.code),
            passed ? [] : [judged.code],
        )
        const believed = passed || /^ERR_EVIDENCE_(?!EMULATED)/.test(code ?? '') || code?.includes('POLICY')
        t.is(judged.claims !== null, Boolean(believed), 'claims of what is not authentic are not told')
    })

test('what a verifier does wrong is not a verdict', (t) => {
    const broken: Verifier = {
        ...verifier,
        authenticate() {
            throw new TypeError('oops')
        },
    }
    t.throws(() => judge(broken, evidenceOf(genoa), {}, genoa.now), { instanceOf: TypeError })
})

test('whoever judges evidence asks in one place: no other source asks a plugin', (t) => {
    const asking = sources().filter(
        ({ path, text }) => /^(?:src|plugins|drivers)\//.test(path) && text.includes('verifier.authenticate('),
    )
    t.deepEqual(
        asking.map(({ path }) => path),
        ['src/evidence/authenticate.ts'],
    )
})
