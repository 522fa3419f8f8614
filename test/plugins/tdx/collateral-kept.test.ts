// Collateral that is there: what it is good for, until when, and as one file.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { readCollateral } from '#evidence/collateral.ts'
import { readCollateralFolder, writeCollateralFolder } from '#evidence/collateral-folder.ts'
import type { GivenCollateral } from '#evidence/collateral-service.ts'
import { judge } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { tdxCollateral } from '#plugins/tdx/collateral-service.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { temporaryFolder } from '#test/folder.ts'
import { VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { identityOf, infoOf, named, quote, trustIn, type Vendor, vendor } from './minted.ts'
import { FMSPC } from './pccs.ts'

const intel = await vendor()
const stranger = await vendor()
const DAY_MS = 24 * 60 * 60 * 1000
const days = (count: number): Date => new Date(intel.now.getTime() + count * DAY_MS)
const rootsOf = ({ certificates }: Vendor) => [named('root', certificates.root)]
const evidence = { tee: 'tdx', report: quote(intel) }

const given = (changed: Partial<GivenCollateral> = {}): GivenCollateral => ({
    ...trustIn(intel),
    certificates: [named('tcb-signing', intel.certificates.tcbSigning), named('platform', intel.certificates.platform)],
    ...changed,
})

test('what is there is told in the order in which it expires, and what is replaced is not missed', (t) => {
    const old = infoOf(intel, {}, { times: { issueDate: days(-60), nextUpdate: days(-30) } })
    const items = tdxCollateral.describe(given({ statements: [old, infoOf(intel), identityOf(intel)] }), intel.now)
    t.deepEqual(
        items.map(({ what }) => what),
        [
            `TCB info of ${FMSPC}`,
            ...items.slice(1, 5).map(({ what }) => what),
            'certificate of Intel SGX TCB Signing',
            'certificate of Intel SGX PCK Platform CA',
        ],
    )
    t.deepEqual(
        items
            .slice(1, 5)
            .map(({ what }) => what)
            .toSorted(),
        [
            'QE identity',
            `TCB info of ${FMSPC}`,
            'revocation list of Intel SGX PCK Platform CA',
            'revocation list of Intel SGX Root CA',
        ],
    )
    t.deepEqual(
        items.map(({ superseded }) => superseded),
        [true, ...Array<boolean>(6).fill(false)],
    )
    t.true(items.every(({ problem }) => problem === null))
})

test('what a verifier would refuse is told', (t) => {
    const items = tdxCollateral.describe(
        given({ statements: [infoOf(stranger)], revocationLists: [named('root.crl', stranger.lists.root)] }),
        intel.now,
    )
    t.deepEqual(
        items.filter(({ problem }) => problem).map(({ what }) => what),
        [`TCB info of ${FMSPC}`, 'revocation list of Intel SGX Root CA'].toSorted(
            (a, b) => items.findIndex(({ what }) => what === a) - items.findIndex(({ what }) => what === b),
        ),
    )
})

for (const { name, changed, want } of [
    { name: 'everything holds', changed: {}, want: { because: 'revocation list of Intel SGX Root CA', until: true } },
    {
        name: 'its statement ends first',
        changed: { statements: [infoOf(intel, {}, { times: { nextUpdate: days(5) } }), identityOf(intel)] },
        want: { because: `TCB info of ${FMSPC}`, until: true },
    },
    {
        name: 'no statement of its platform',
        changed: { statements: [infoOf(intel, { fmspc: '00906ed50000' }), identityOf(intel)] },
        want: { because: `no TCB info of ${FMSPC} is there`, until: false },
    },
    {
        name: 'a statement of its platform with another PCE alone, which a verifier refuses',
        changed: { statements: [infoOf(intel, { pceId: 'ffff' }), identityOf(intel)] },
        want: { because: /PCE-ID: expected 0000, got ffff/, until: false },
    },
    {
        name: 'no list',
        changed: { revocationLists: [] },
        want: { because: 'no revocation list of Intel SGX Root CA is there', until: false },
    },
    { name: 'another vendor', changed: { roots: rootsOf(stranger) }, want: { because: /not trusted/, until: false } },
] as const satisfies readonly { name: string; changed: Partial<GivenCollateral>; want: unknown }[])
    test(`the outlook of a guest: ${name}`, (t) => {
        const { platform, until, because } = tdxCollateral.outlook(given(changed), evidence, intel.now)
        t.is(platform, FMSPC)
        t.is(until !== null, want.until, because)
        if (typeof want.because === 'string') {
            // Lists and statements of one minute end together.
            if (name !== 'everything holds') t.is(because, want.because)
        } else t.regex(because, want.because)
    })

test('the outlook of a guest counts the statement of its own PCE', (t) => {
    const other = infoOf(intel, { pceId: 'ffff', tcbEvaluationDataNumber: 99 }, { times: { nextUpdate: days(2) } })
    const own = infoOf(intel, {}, { times: { nextUpdate: days(5) } })
    const { until } = tdxCollateral.outlook(given({ statements: [other, own, identityOf(intel)] }), evidence, intel.now)
    t.is(Math.floor(Number(until) / 1000), Math.floor(days(5).getTime() / 1000))
})

test('one file has all that a quote is judged by', (t) => {
    const all = given({ certificates: [...given().certificates, named('root', intel.certificates.root)] })
    const bundle = tdxCollateral.bundle(all, FMSPC, intel.now)
    const trust = { ...STRICT_TRUST, roots: rootsOf(intel), statements: [{ name: 'bundle.json', bytes: bundle }] }
    t.is(judge(tdxVerifier(trust), evidence, {}, intel.now).verdict, 'authentic')
    t.is(Object.keys(JSON.parse(bundle.toString())).length, 9)
    t.throws(() => tdxCollateral.bundle(all, '00906ed50000', intel.now), { code: 'ERR_TDX_COLLATERAL_MISSING' })
    t.throws(() => tdxCollateral.bundle({ ...all, revocationLists: [] }, FMSPC, intel.now), {
        code: 'ERR_TDX_COLLATERAL_MISSING',
    })
})

test('platforms by their names', (t) => {
    t.is(tdxCollateral.readPlatform('90C06F000000'), '90c06f000000')
    for (const text of ['', '90c06f', '90c06f00000g', ' 90c06f000000'])
        t.throws(() => tdxCollateral.readPlatform(text), { code: 'ERR_USAGE' }, text)
    t.is(tdxCollateral.platformOf(evidence), FMSPC)
})

const BUNDLES = 'snp-tdx/derived'
for (const [file, platform, at] of [
    ['collateral-B-2025-02-14-00806f050000.json', '00806f050000', '2025-02-20'],
    ['collateral-F-2026-02-19-90c06f000000.json', '90c06f000000', '2026-02-20'],
    ['collateral-G-2026-03-17-50806f000000.json', '50806f000000', '2026-03-18'],
] as const)
    needs(vectors(`${BUNDLES}/${file}`))(`a real bundle goes through a folder unchanged: ${file}`, (t) => {
        const collateral = readCollateral(join(VECTORS, BUNDLES, file))
        t.deepEqual(tdxCollateral.platformsIn(collateral), [platform])
        const items = tdxCollateral.describe(collateral, new Date(at))
        t.deepEqual(
            items.filter(({ problem }) => problem !== null),
            [],
        )
        t.true(
            items.filter(({ what }) => !what.startsWith('certificate')).every(({ expires }) => expires > new Date(at)),
        )
        const was = JSON.parse(readFileSync(join(VECTORS, BUNDLES, file), 'utf8'))
        const is = JSON.parse(tdxCollateral.bundle(collateral, platform, new Date(at)).toString())
        for (const [field, value] of Object.entries(was as Record<string, string>))
            t.is(is[field].trim().toLowerCase(), value.trim().toLowerCase(), field)
    })

test('a folder that is not there has nothing, and a file is none', (t) => {
    const folder = temporaryFolder(t)
    t.deepEqual(readCollateralFolder(join(folder, 'none')).statements, [])
    writeCollateralFolder(folder, [{ name: 'a.json', bytes: Buffer.from('{}') }])
    t.throws(() => readCollateralFolder(join(folder, 'a.json')), { code: 'ERR_FILE_KIND' })
})
