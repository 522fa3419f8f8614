// Collateral from a service: what is asked for, what comes back, and what of it is refused before anybody writes it.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { errnoOf, messageOf } from '#core/errors.ts'
import { openHttps } from '#core/https-get.ts'
import { readCollateral } from '#evidence/collateral.ts'
import { readCollateralFolder, writeCollateralFolder } from '#evidence/collateral-folder.ts'
import type { CollateralFile, CollateralWanted, GivenCollateral } from '#evidence/collateral-service.ts'
import { judge } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { tdxCollateral } from '#plugins/tdx/collateral-service.ts'
import { mintLists } from '#plugins/tdx/mint.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { CA } from '#test/core/peer.ts'
import { temporaryFolder } from '#test/folder.ts'
import { VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { identityOf, infoOf, named, quote, serialOf, trustIn, type Vendor, vendor, withLists } from './minted.ts'
import { type Answers, answersOf, FMSPC, failing, PATHS, pccs, saying } from './pccs.ts'

const intel = await vendor()
const DAY_MS = 24 * 60 * 60 * 1000
const days = (count: number): Date => new Date(intel.now.getTime() + count * DAY_MS)

const stranger = await vendor()
const revoked = await withLists(intel, { root: { revoked: [serialOf(intel.certificates.tcbSigning)] } })
const staleLists = await mintLists(intel.keys, intel.now, { pck: { thisUpdate: days(-40), nextUpdate: days(-10) } })

const NOTHING: GivenCollateral = { certificates: [], revocationLists: [], statements: [] }
const rootsOf = ({ certificates }: Vendor) => [named('root', certificates.root)]

async function fetchFrom(
    t: ExecutionContext,
    answers: Answers,
    changed: Partial<CollateralWanted> = {},
    { at = new Date(), timeoutMs = 20_000 } = {},
): Promise<{ files: readonly CollateralFile[]; asked: string[] }> {
    const service = await pccs(t, answers)
    const client = await openHttps({ ca: CA, timeoutMs, retries: 0 })
    try {
        const present = { ...NOTHING, roots: rootsOf(intel) }
        const wanted = { platform: FMSPC, source: service.url, update: 'standard', present, ...changed }
        return { files: await tdxCollateral.fetch(wanted, { get: client.get, now: at }), asked: service.asked }
    } finally {
        await client.close()
    }
}

function folderWith(t: ExecutionContext, files: readonly CollateralFile[]): string {
    const folder = temporaryFolder(t)
    writeCollateralFolder(folder, files)
    return folder
}

test('what a service hands out is what a quote is judged by', async (t) => {
    const { files, asked } = await fetchFrom(t, answersOf(intel))
    const folder = folderWith(t, files)
    t.deepEqual(readdirSync(folder).toSorted(), [
        `tdx-pck-platform-issuers.pem`,
        'tdx-pck-platform.crl',
        'tdx-qe-identity-issuers.pem',
        'tdx-qe-identity.json',
        'tdx-root.crl',
        `tdx-tcb-info-${FMSPC}-issuers.pem`,
        `tdx-tcb-info-${FMSPC}.json`,
    ])
    const byPath = (a: string, b: string) => a.localeCompare(b)
    t.deepEqual(asked.toSorted(byPath), [
        `${PATHS.pckCrl}?ca=platform&encoding=der`,
        `${PATHS.pckCrl}?ca=processor&encoding=der`,
        PATHS.rootCrl,
        PATHS.identity,
        `${PATHS.tcb}?fmspc=${FMSPC.toUpperCase()}`,
    ])
    t.deepEqual(readFileSync(join(folder, 'tdx-root.crl')), intel.lists.root, 'hex text becomes DER')
    const verifier = tdxVerifier({ ...STRICT_TRUST, ...readCollateral(folder), roots: rootsOf(intel) })
    const evidence = { tee: 'tdx', report: quote(intel) }
    const { verdict, code } = judge(verifier, evidence, {}, new Date())
    t.is(verdict, 'authentic', String(code))
    t.deepEqual(writeCollateralFolder(folder, files), [], 'nothing is written twice')
})

for (const [update, query] of [
    ['early', 'update=early'],
    ['17', 'tcbEvaluationDataNumber=17'],
] as const)
    test(`the set ${update} is asked for`, async (t) => {
        const { asked } = await fetchFrom(t, answersOf(intel), { update })
        t.true(asked.includes(`${PATHS.tcb}?fmspc=${FMSPC.toUpperCase()}&${query}`))
        t.true(asked.includes(`${PATHS.identity}?${query}`))
    })

const chains = { signing: [intel.certificates.tcbSigning, intel.certificates.root] }
const info = (bytes: Buffer, chain = chains.signing): Answers => ({
    [PATHS.tcb]: saying(bytes, 'TCB-Info-Issuer-Chain', chain),
})
const sgx = Buffer.from(infoOf(intel, { id: 'SGX' }).bytes)
const tampered = Buffer.from(infoOf(intel).bytes.toString().replace('OutOfDate', 'UpToDate'))
const pckCrl = (list: Buffer, chain = [intel.certificates.platform, intel.certificates.root]): Answers => ({
    [PATHS.pckCrl]: saying(list, 'SGX-PCK-CRL-Issuer-Chain', chain),
})

const REFUSED: readonly (readonly [name: string, answers: Answers, code: string, want: RegExp])[] = [
    [
        'TCB info of another platform',
        info(infoOf(intel, { fmspc: '00906ed50000' }).bytes),
        'ERR_TDX_COLLATERAL',
        /00906ed50000, .* was asked for/,
    ],
    ['TCB info of SGX', info(sgx), 'ERR_TDX_COLLATERAL', /TCB info of SGX/],
    ['TCB info that somebody changed', info(tampered), 'ERR_TDX_COLLATERAL', /not signed by any key/],
    [
        'TCB info of a stranger',
        info(infoOf(stranger).bytes, [stranger.certificates.tcbSigning, stranger.certificates.root]),
        'ERR_TDX_COLLATERAL',
        /not signed/,
    ],
    [
        'an expired TCB info',
        info(infoOf(intel, {}, { times: { issueDate: days(-40), nextUpdate: days(-1) } }).bytes),
        'ERR_TDX_COLLATERAL_TIME',
        /expired at/,
    ],
    [
        'TCB info of tomorrow',
        info(infoOf(intel, {}, { times: { issueDate: days(1) } }).bytes),
        'ERR_TDX_COLLATERAL_TIME',
        /the time is/,
    ],
    ['no JSON', info(Buffer.from('<html>')), 'ERR_JSON', /./],
    [
        'no issuer chain',
        { [PATHS.tcb]: saying(infoOf(intel).bytes) },
        'ERR_TDX_COLLATERAL',
        /no header tcb-info-issuer-chain/,
    ],
    [
        'an issuer chain that is not URL-encoded',
        { [PATHS.tcb]: (_, response) => response.setHeader('TCB-Info-Issuer-Chain', '%zz').end('{}') },
        'ERR_TDX_COLLATERAL',
        /not URL-encoded/,
    ],
    [
        'an identity of another enclave',
        {
            [PATHS.identity]: saying(
                identityOf(intel, { id: 'QE' }).bytes,
                'SGX-Enclave-Identity-Issuer-Chain',
                chains.signing,
            ),
        },
        'ERR_TDX_COLLATERAL',
        /identity of the enclave QE/,
    ],
    [
        'an expired identity',
        {
            [PATHS.identity]: saying(
                identityOf(intel, {}, { issueDate: days(-40), nextUpdate: days(-1) }).bytes,
                'SGX-Enclave-Identity-Issuer-Chain',
                chains.signing,
            ),
        },
        'ERR_TDX_COLLATERAL_TIME',
        /expired at/,
    ],
    [
        'a signer that is revoked',
        { [PATHS.rootCrl]: saying(revoked.root.toString('hex')) },
        'ERR_TDX_REVOKED',
        /is revoked/,
    ],
    [
        'a root list of a stranger',
        { [PATHS.rootCrl]: saying(stranger.lists.root.toString('hex')) },
        'ERR_TDX_CRL',
        /not signed by/,
    ],
    ['a PCK list of a stranger', pckCrl(stranger.lists.pck), 'ERR_TDX_CRL', /not signed by/],
    [
        'a PCK list without its CA',
        pckCrl(intel.lists.pck, [intel.certificates.root]),
        'ERR_TDX_CHAIN',
        /no certificate of Intel SGX PCK Platform CA/,
    ],
    ['the root list twice', pckCrl(intel.lists.root), 'ERR_TDX_CRL_MISSING', /Platform CA came/],
    ['an expired PCK list', pckCrl(staleLists.pck), 'ERR_TDX_COLLATERAL_TIME', /expired at/],
    ['a list that is none', { [PATHS.rootCrl]: saying('oops') }, 'ERR_CERTIFICATE', /./],
    ['an unknown platform', { [PATHS.tcb]: failing(404) }, 'ERR_TDX_COLLATERAL_MISSING', /status 404/],
    ['a set that is gone', { [PATHS.tcb]: failing(410) }, 'ERR_TDX_COLLATERAL_MISSING', /status 410/],
    ['a broken service', { [PATHS.identity]: failing(500) }, 'ERR_HTTP_RESPONSE', /status 500/],
    [
        'a redirect',
        { [PATHS.tcb]: (_, response) => response.writeHead(302, { location: 'https://example.com/' }).end() },
        'ERR_HTTP_RESPONSE',
        /redirects/,
    ],
    [
        'an answer without end',
        { [PATHS.tcb]: (_, response) => void response.end(Buffer.alloc(300 * 1024, 0x20)) },
        'ERR_HTTP_RESPONSE',
        /more than 262144 bytes/,
    ],
    [
        'headers without end',
        { [PATHS.tcb]: saying('{}', 'TCB-Info-Issuer-Chain', Array<Buffer>(100).fill(intel.certificates.root)) },
        'ERR_HTTP_RESPONSE',
        /./,
    ],
    ['an answer that breaks off', { [PATHS.tcb]: (request) => request.socket.destroy() }, 'ERR_HTTP_CONNECT', /./],
]

for (const [name, answers, code, want] of REFUSED)
    test(`refused: ${name}`, async (t) => {
        const error = await t.throwsAsync(fetchFrom(t, { ...answersOf(intel), ...answers }))
        t.is(errnoOf(error), code, messageOf(error))
        t.regex(messageOf(error), want)
    })

test('a service that does not answer is left', async (t) => {
    const hanging: Answers = { ...answersOf(intel), [PATHS.tcb]: () => undefined }
    await t.throwsAsync(fetchFrom(t, hanging, {}, { timeoutMs: 500 }), { code: 'ERR_HTTP_TIMEOUT' })
})

test('what is older than what is there is refused', async (t) => {
    const newer = infoOf(intel, {}, { times: { issueDate: new Date(intel.now.getTime() - DAY_MS / 2) } })
    const present = { ...NOTHING, roots: rootsOf(intel), statements: [newer] }
    await t.throwsAsync(fetchFrom(t, answersOf(intel), { present }), {
        code: 'ERR_TDX_COLLATERAL',
        message: /older than tcbInfo\.json/,
    })
})

test('under the built-in root nothing of a stranger is taken', async (t) => {
    await t.throwsAsync(fetchFrom(t, answersOf(intel), { present: NOTHING }), { code: 'ERR_TDX_COLLATERAL' })
})

for (const [source, code] of [
    ['http://example.com', 'ERR_URL'],
    ['https://example.com/path', 'ERR_URL'],
    ['intel2', 'ERR_USAGE'],
] as const)
    test(`no service: ${source}`, async (t) => {
        await t.throwsAsync(fetchFrom(t, {}, { source }), { code })
    })

test('a server of another CA is refused', async (t) => {
    const service = await pccs(t, answersOf(intel))
    const client = await openHttps({ retries: 0 })
    t.teardown(() => client.close())
    await t.throwsAsync(client.get(`${service.url}/`, { maxBytes: 10 }), { code: 'ERR_HTTP_TLS' })
    t.deepEqual(service.asked, [])
})

test('a service that is busy is asked again', async (t) => {
    let calls = 0
    const service = await pccs(t, { '/': (_, response) => response.writeHead(++calls < 3 ? 503 : 200).end('done') })
    const client = await openHttps({ ca: CA })
    t.teardown(() => client.close())
    t.is((await client.get(`${service.url}/`, { maxBytes: 10 })).body.toString(), 'done')
    t.is(calls, 3)
})

const given = (changed: Partial<GivenCollateral> = {}): GivenCollateral => ({
    ...trustIn(intel),
    certificates: [named('tcb-signing', intel.certificates.tcbSigning), named('platform', intel.certificates.platform)],
    ...changed,
})
const evidence = { tee: 'tdx', report: quote(intel) }

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
