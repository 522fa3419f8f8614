// Collateral from a service: what is asked for, what comes back, and what of it is refused before anybody writes it.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { errnoOf, messageOf } from '#core/errors.ts'
import { openHttps } from '#core/https-get.ts'
import { certificatePem } from '#core/mint.ts'
import { readCollateral } from '#evidence/collateral.ts'
import { readCollateralFolder, writeCollateralFolder } from '#evidence/collateral-folder.ts'
import type { CollateralFile, CollateralWanted, GivenCollateral } from '#evidence/collateral-service.ts'
import { judge } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { tdxCollateral } from '#plugins/tdx/collateral-service.ts'
import { mintLists } from '#plugins/tdx/mint/mint.ts'
import { bundle, qeIdentity, signStatement, tcbInfo } from '#plugins/tdx/mint/statements.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { CA } from '#test/core/peer.ts'
import { temporaryFolder } from '#test/folder.ts'
import { identityOf, infoOf, named, quote, serialOf, type Vendor, vendor, withLists } from './minted.ts'
import { type Answers, answersOf, FMSPC, failing, PATHS, pccs, saying } from './pccs.ts'

const intel = await vendor()
const DAY_MS = 24 * 60 * 60 * 1000
const days = (count: number): Date => new Date(intel.now.getTime() + count * DAY_MS)

const stranger = await vendor()
const revoked = await withLists(intel, { root: { revoked: [serialOf(intel.certificates.tcbSigning)] } })
const staleLists = await mintLists(intel.keys, intel.now, { pck: { thisUpdate: days(-40), nextUpdate: days(-10) } })
const later = { thisUpdate: days(-1), number: 10 } as const
const strict = await withLists(intel, {
    root: { ...later, revoked: ['abcd'] },
    pck: { ...later, revoked: [serialOf(intel.certificates.pck)] },
})
const lower = await withLists(intel, { root: { ...later, number: 9 }, pck: { ...later, number: 9 } })
const earlier = await withLists(intel, {
    root: { number: 10, thisUpdate: days(-5) },
    pck: { number: 10, thisUpdate: days(-5) },
})
const sameTime = await withLists(intel, { root: { thisUpdate: intel.now } })

const evidence = { tee: 'tdx', report: quote(intel) }

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

const numbered = (of: Vendor, number: number, issued = days(-1)): { info: Buffer; identity: Buffer } => ({
    info: infoOf(of, {}, { times: { tcbEvaluationDataNumber: number, issueDate: issued } }).bytes,
    identity: identityOf(of, {}, { tcbEvaluationDataNumber: number, issueDate: issued }).bytes,
})

const chains = { signing: [intel.certificates.tcbSigning, intel.certificates.root] }
const info = (bytes: Buffer | string, chain = chains.signing): Answers => ({
    [PATHS.tcb]: saying(bytes, 'TCB-Info-Issuer-Chain', chain),
})
const identity = (bytes: Buffer | string): Answers => ({
    [PATHS.identity]: saying(bytes, 'SGX-Enclave-Identity-Issuer-Chain', chains.signing),
})
const set = (of: { info: Buffer; identity: Buffer }): Answers => ({ ...info(of.info), ...identity(of.identity) })

for (const [update, query, answers] of [
    ['early', 'update=early', {}],
    ['17', 'tcbEvaluationDataNumber=17', set(numbered(intel, 17))],
] as const)
    test(`the set ${update} is asked for`, async (t) => {
        const { asked } = await fetchFrom(t, { ...answersOf(intel), ...answers }, { update })
        t.true(asked.includes(`${PATHS.tcb}?fmspc=${FMSPC.toUpperCase()}&${query}`))
        t.true(asked.includes(`${PATHS.identity}?${query}`))
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

const platformList = (list: Buffer): Answers => ({
    [PATHS.pckCrl]: (request, response) => {
        const answers = answersOf({ ...intel, lists: { ...intel.lists, pck: list } })
        answers[PATHS.pckCrl]?.(request, response)
    },
})
const rootList = (list: Buffer): Answers => ({ [PATHS.rootCrl]: saying(list.toString('hex')) })

for (const [name, answers, says] of [
    ['a PCK list of a lower number', platformList(lower.pck), /number 9, .* older than .*number 10/],
    ['a PCK list of an earlier date', platformList(earlier.pck), /older than/],
    ['a root list of a lower number', rootList(lower.root), /number 9, .* older than .*number 10/],
    ['a root list of an earlier date', rootList(earlier.root), /older than/],
] as const)
    test(`a service cannot take back what was revoked: ${name}`, async (t) => {
        const current = { ...answersOf(intel), ...platformList(strict.pck), ...rootList(strict.root) }
        const folder = folderWith(t, (await fetchFrom(t, current)).files)
        const present = { ...readCollateralFolder(folder), roots: rootsOf(intel) }
        t.is((await fetchFrom(t, current, { present })).files.length, 7, 'the same again is no older')
        const error = await t.throwsAsync(fetchFrom(t, { ...current, ...answers }, { present }))
        t.is(errnoOf(error), 'ERR_TDX_COLLATERAL', messageOf(error))
        t.regex(messageOf(error), says)
    })

test('who signs statements is judged by the lists that are there, too', async (t) => {
    const present = { ...NOTHING, roots: rootsOf(intel), revocationLists: [named('root.crl', revoked.root)] }
    await t.throwsAsync(fetchFrom(t, { ...answersOf(intel), ...rootList(sameTime.root) }, { present }), {
        code: 'ERR_TDX_REVOKED',
    })
})

test('lists of strangers that are there hinder nobody', async (t) => {
    const present = {
        ...NOTHING,
        roots: rootsOf(intel),
        revocationLists: [named('root.crl', stranger.lists.root), named('pck.crl', stranger.lists.pck)],
    }
    t.is((await fetchFrom(t, answersOf(intel), { present })).files.length, 7)
})

const [low, high] = [numbered(intel, 17), numbered(intel, 18, days(-3))]
for (const { name, update, there, answers, code } of [
    { name: 'a lower number than was asked for', update: '18', answers: set(low), code: 'ERR_TDX_COLLATERAL' },
    { name: 'a higher one', update: '17', answers: set(high), code: 'ERR_TDX_COLLATERAL' },
    {
        name: 'an identity of another number than was asked for',
        update: '18',
        answers: { ...info(high.info), ...identity(low.identity) },
        code: 'ERR_TDX_COLLATERAL',
    },
    {
        name: 'a lower one than is there',
        update: 'standard',
        there: high,
        answers: set(low),
        code: 'ERR_TDX_COLLATERAL',
    },
    {
        name: 'a lower one than is there, where the next set was asked for',
        update: 'early',
        there: high,
        answers: set(low),
        code: 'ERR_TDX_COLLATERAL',
    },
    {
        name: 'a lower one than is there, which was asked for',
        update: '17',
        there: high,
        answers: set(low),
        code: null,
    },
    { name: 'what was asked for', update: '18', there: low, answers: set(high), code: null },
] as readonly {
    name: string
    update: string
    there?: { info: Buffer; identity: Buffer }
    answers: Answers
    code: string | null
}[])
    test(`evaluation numbers: ${name}`, async (t) => {
        const statements = there ? [named('info.json', there.info), named('identity.json', there.identity)] : []
        const present = { ...NOTHING, roots: rootsOf(intel), statements }
        const fetched = fetchFrom(t, { ...answersOf(intel), ...answers }, { update, present })
        if (code === null) t.is((await fetched).files.length, 7)
        else await t.throwsAsync(fetched, { code, message: /evaluation number/ })
    })

const forever = { tcbEvaluationDataNumber: 0xffffffff, nextUpdate: '9999-12-31T00:00:00Z' }
const poison = infoOf(stranger, forever)
const poisonous = JSON.stringify(
    bundle(
        intel.certificates,
        intel.lists,
        { ...signStatement(tcbInfo(intel.now, {}, forever), stranger.keys.tcbSigning), signature: '00'.repeat(64) },
        signStatement(qeIdentity(intel.now), intel.keys.tcbSigning),
    ),
)

for (const [name, answers] of [
    ['a bundle as the identity', identity(poisonous)],
    ['a bundle as TCB info', info(poisonous)],
    ['a member beside the statement', info(infoOf(intel).bytes.toString().replace('{', '{"enclaveIdentity":{},'))],
] as const)
    test(`refused: ${name}`, async (t) => {
        await t.throwsAsync(fetchFrom(t, { ...answersOf(intel), ...answers }), {
            code: 'ERR_TDX_COLLATERAL',
            message: /and signature alone, got/,
        })
    })

const [honest, fixed] = [infoOf(intel).bytes, answersOf(intel)]
const headed = (extra: string, body = honest): Answers => ({
    [PATHS.tcb]: (_, response) => {
        const chain = chains.signing.map(certificatePem).join('') + extra
        response.setHeader('TCB-Info-Issuer-Chain', encodeURIComponent(chain)).end(body)
    },
})
const listBlock = '-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n'
for (const [name, answers] of [
    ['spaces before a statement', headed('', Buffer.concat([Buffer.alloc(70, 0x20), honest]))],
    ['a list among the issuers', headed(listBlock)],
    ['a comment among the issuers', headed(`# ${listBlock}{"tcbInfo":`)],
    ['a root of a stranger among the issuers', headed(certificatePem(stranger.certificates.root))],
    ['a list as PEM with text before it', rootListPem(intel.lists.root)],
] as const)
    test(`what is written is what was verified, and nothing else: ${name}`, async (t) => {
        const plain = folderWith(t, (await fetchFrom(t, { ...fixed, ...headed('') })).files)
        const folder = folderWith(t, (await fetchFrom(t, { ...fixed, ...headed(''), ...answers })).files)
        for (const file of readdirSync(plain))
            t.deepEqual(readFileSync(join(folder, file)), readFileSync(join(plain, file)), file)
        const verifier = tdxVerifier({ ...STRICT_TRUST, ...readCollateral(folder), roots: rootsOf(intel) })
        t.is(judge(verifier, evidence, {}, new Date()).verdict, 'authentic')
    })

function rootListPem(list: Buffer): Answers {
    const pem = `{\n-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`
    return { [PATHS.rootCrl]: saying(pem) }
}

for (const [file, bytes] of [
    [`tdx-tcb-info-${FMSPC}.json`, '{"tcbInfo":'],
    [`tdx-tcb-info-${FMSPC}.json`, poison.bytes],
    ['tdx-qe-identity.json', '{"cloudInit":1}'],
    ['tdx-qe-identity.json', poisonous],
    ['tdx-root.crl', 'no list'],
    [`tdx-tcb-info-${FMSPC}-issuers.pem`, '-----BEGIN X509 CRL-----'],
] as const)
    test(`what is broken or forged keeps nothing away that replaces it: ${file}: ${bytes.toString().slice(0, 30)}`, async (t) => {
        const { files } = await fetchFrom(t, answersOf(intel))
        const folder = folderWith(t, files)
        writeFileSync(join(folder, file), bytes)
        const present = { ...readCollateralFolder(folder), roots: rootsOf(intel) }
        const again = await fetchFrom(t, answersOf(intel), { present })
        t.true(writeCollateralFolder(folder, again.files).includes(file))
        const verifier = tdxVerifier({ ...STRICT_TRUST, ...readCollateral(folder), roots: rootsOf(intel) })
        t.is(judge(verifier, evidence, {}, new Date()).verdict, 'authentic')
    })

test('nothing is written where one file is none of collateral', (t) => {
    const folder = temporaryFolder(t)
    const files = [
        { name: 'a.json', bytes: Buffer.from('{}') },
        { name: 'b.crl', bytes: Buffer.from('no list') },
    ]
    t.throws(() => writeCollateralFolder(folder, files), { code: 'ERR_EVIDENCE_TRUST' })
    t.deepEqual(readdirSync(folder), [])
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
