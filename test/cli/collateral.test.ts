// `collateral fetch`, `status` and `export`, and `verify --pccs`, as a person runs them, against a service of a minted vendor.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { CA } from '#test/core/peer.ts'
import { temporaryFolder } from '#test/folder.ts'
import { VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { identityOf, infoOf, quote, type Vendor, vendor } from '#test/plugins/tdx/minted.ts'
import { type Answers, answersOf, FMSPC, failing, PATHS, pccs } from '#test/plugins/tdx/pccs.ts'
import { guestAttest } from './run.ts'

const intel = await vendor()
const foreign = await vendor()
const DAY_MS = 24 * 60 * 60 * 1000
const day = (count: number): string => new Date(intel.now.getTime() + count * DAY_MS).toISOString()

/** A folder with the root and a quote, and a service in plain http. */
async function setUp(t: ExecutionContext, answers: Answers = answersOf(intel)) {
    const folder = temporaryFolder(t)
    const write = (name: string, bytes: Buffer | string): string => {
        writeFileSync(join(folder, name), bytes)
        return join(folder, name)
    }
    const root = write('root.der', intel.certificates.root)
    const evidence = write('quote.bin', quote(intel))
    const service = await pccs(t, answers, true)
    const trust = ['--trust-root', root]
    const ask = ['--pccs', service.url, '--insecure-http', ...trust]
    return { folder, write, evidence, service, trust, ask, out: join(folder, 'collateral') }
}

test('a folder is fetched for a quote, renewed by itself, and what it holds is told', async (t) => {
    const { evidence, ask, out, trust, service, folder } = await setUp(t)
    const fetched = await guestAttest(['collateral', 'fetch', '--evidence', evidence, ...ask, '--out', out])
    t.is(fetched.code, 0, fetched.stderr)
    t.deepEqual(fetched.stdout.trim().split('\n').toSorted(), readdirSync(out).toSorted())
    for (const name of readdirSync(out)) t.is(statSync(join(out, name)).mode & 0o777, 0o644, name)

    const again = await guestAttest(['collateral', 'fetch', ...ask, '--out', out, '--json'])
    t.deepEqual(JSON.parse(again.stdout), { folder: out, platforms: [FMSPC], changed: [] })
    t.is(service.asked.length, 10)

    const status = await guestAttest(['collateral', 'status', out, '--evidence', evidence, ...trust])
    t.is(status.code, 0, status.stderr)
    t.regex(status.stdout, new RegExp(`good +TCB info of ${FMSPC}`))
    t.regex(status.stdout, new RegExp(`quote\\.bin \\(${FMSPC}\\): until `))

    const bundle = join(folder, 'bundle.json')
    const exported = await guestAttest(['collateral', 'export', out, '--out', bundle, ...trust])
    t.is(exported.code, 0, exported.stderr)
    t.is(statSync(bundle).mode & 0o777, 0o644)
    const verify = ['verify', evidence, '--offline', '--authentic-only', '--json', ...trust]
    for (const collateral of [out, bundle]) {
        const { code, stdout } = await guestAttest([...verify, '--collateral', collateral])
        t.is(code, 0, stdout)
        t.is(JSON.parse(stdout).verdict, 'authentic')
    }
    const twice = await guestAttest(['collateral', 'export', out, '--out', bundle, ...trust])
    t.is(twice.code, 2)
})

test('over TLS with the CA of the service', async (t) => {
    const { trust, out, write } = await setUp(t)
    const service = await pccs(t, answersOf(intel))
    const args = ['collateral', 'fetch', '--fmspc', FMSPC, '--pccs', service.url, '--out', out, ...trust]
    const strange = await guestAttest(args)
    t.is(strange.code, 1, strange.stderr)
    t.regex(strange.stderr, /its CA/)
    t.false(existsSync(out))
    const known = await guestAttest([...args, '--ca', write('ca.pem', CA)])
    t.is(known.code, 0, known.stderr)
})

for (const { name, answers, code, want } of [
    { name: 'a service without this platform', answers: { [PATHS.tcb]: failing(404) }, code: 3, want: /status 404/ },
    { name: 'a service that lies', answers: { [PATHS.rootCrl]: failing(200) }, code: 1, want: /malformed|not a/i },
] satisfies { name: string; answers: Answers; code: number; want: RegExp }[])
    test(`nothing is written of ${name}`, async (t) => {
        const { ask, out } = await setUp(t, { ...answersOf(intel), ...answers })
        const ran = await guestAttest(['collateral', 'fetch', '--fmspc', FMSPC, ...ask, '--out', out])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, want)
        t.false(existsSync(out))
    })

for (const { name, args, want } of [
    { name: 'no platform', args: ['--out', '/nonexistent'], want: /no platform was named/ },
    { name: 'no FMSPC', args: ['--fmspc', 'xyz', '--out', '/nonexistent'], want: /12 hex digits/ },
    {
        name: 'two services',
        args: ['--from', 'intel', '--pccs', 'https://a', '--fmspc', FMSPC, '--out', '/nonexistent'],
        want: /one service/,
    },
    {
        name: 'an unknown service',
        args: ['--from', 'cache', '--fmspc', FMSPC, '--out', '/nonexistent'],
        want: /expected intel, azure/,
    },
    {
        name: 'plain http',
        args: ['--pccs', 'http://127.0.0.1:1', '--fmspc', FMSPC, '--out', '/nonexistent'],
        want: /plain http/,
    },
    {
        name: 'an unknown set',
        args: ['--update', 'late', '--pccs', 'https://127.0.0.1:1', '--fmspc', FMSPC, '--out', '/nonexistent'],
        want: /evaluation number/,
    },
])
    test(`fetch: usage: ${name}`, async (t) => {
        const { code, stderr } = await guestAttest(['collateral', 'fetch', ...args])
        t.is(code, 2, stderr)
        t.regex(stderr, want)
    })

async function folderOf(t: ExecutionContext, of: Vendor, files: Readonly<Record<string, Buffer | string>>) {
    const { out, trust, evidence, ask } = await setUp(t, answersOf(of))
    await guestAttest(['collateral', 'fetch', '--fmspc', FMSPC, ...ask, '--out', out])
    mkdirSync(out, { recursive: true })
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(out, name), bytes)
    return { out, trust, evidence }
}

const INFO = `tdx-tcb-info-${FMSPC}.json`
const expired = infoOf(intel, {}, { times: { issueDate: new Date(day(-40)), nextUpdate: new Date(day(-1)) } }).bytes

for (const { name, files, args = [], code, want } of [
    { name: 'an expired statement', files: { [INFO]: expired }, code: 1, want: /^expired +TCB info/m },
    { name: 'an expired one that was replaced', files: { 'old.json': expired }, code: 0, want: /^replaced +TCB info/m },
    {
        name: 'a statement that is not signed',
        files: { 'qe.json': identityOf(intel).bytes.toString().replace('"isvprodid":2', '"isvprodid":3') },
        code: 1,
        want: /^refused +QE identity/m,
    },
    { name: 'no JSON', files: { [INFO]: '{' }, code: 3, want: /JSON/ },
    {
        name: 'no list',
        files: { 'tdx-root.crl': 'oops' },
        code: 3,
        want: /expected a certificate or a revocation list/,
    },
    { name: 'a year later', files: {}, args: ['--at', day(400)], code: 1, want: /^expired +QE identity/m },
] satisfies { name: string; files: Record<string, Buffer | string>; args?: string[]; code: number; want: RegExp }[])
    test(`status: ${name}`, async (t) => {
        const { out, trust } = await folderOf(t, intel, files)
        const ran = await guestAttest(['collateral', 'status', out, ...trust, ...args])
        t.is(ran.code, code, ran.stdout + ran.stderr)
        t.regex(ran.stdout + ran.stderr, want)
    })

test('what has expired is not exported', async (t) => {
    const { out, trust } = await folderOf(t, intel, { [INFO]: expired })
    const bundle = join(out, 'bundle.json')
    const ran = await guestAttest(['collateral', 'export', out, '--out', bundle, ...trust])
    t.is(ran.code, 1, ran.stderr)
    t.regex(ran.stderr, /TCB info of [0-9a-f]{12}: expired, it holds until .*\n {2}hint: nothing was written/)
    t.false(existsSync(bundle))
})

for (const { name, files, code, want } of [
    {
        name: 'a bundle that was cut off',
        files: { 'cut.json': '{"tcb_info": "' },
        code: 2,
        want: /cut\.json: not JSON/,
    },
    { name: 'JSON of another kind', files: { 'x.json': '{"a": 1}' }, code: 2, want: /x\.json: expected tcbInfo/ },
    {
        name: 'a statement that nobody trusted has signed',
        files: { [INFO]: infoOf(foreign).bytes },
        code: 3,
        want: /UNDECIDED: ERR_TDX_COLLATERAL/,
    },
] satisfies { name: string; files: Record<string, Buffer | string>; code: number; want: RegExp }[])
    test(`verify: a file of the operator is no verdict on a quote: ${name}`, async (t) => {
        const { out, trust, evidence } = await folderOf(t, intel, files)
        const ran = await guestAttest(['verify', evidence, '--collateral', out, '--authentic-only', ...trust])
        t.is(ran.code, code, ran.stdout + ran.stderr)
        t.regex(ran.stdout + ran.stderr, want)
    })

test('status: a guest whose platform nobody fetched for', async (t) => {
    const { out, trust, evidence } = await folderOf(t, intel, {
        [INFO]: infoOf(intel, { fmspc: '00906ed50000' }).bytes,
    })
    const ran = await guestAttest(['collateral', 'status', out, ...trust, '--evidence', evidence, '--json'])
    t.is(ran.code, 1)
    t.like(JSON.parse(ran.stdout).guests[0], {
        platform: FMSPC,
        until: null,
        because: `no TCB info of ${FMSPC} is there`,
    })
})

test('verify asks a service for what is missing, and not again', async (t) => {
    const { evidence, ask, out, service } = await setUp(t)
    const args = ['verify', evidence, ...ask, '--collateral', out, '--authentic-only', '--json']
    const cold = await guestAttest([...args, '--offline'])
    t.is(cold.code, 2, 'a folder that was named and is not there')
    t.deepEqual(service.asked, [])
    const first = await guestAttest(args)
    t.is(first.code, 0, first.stdout + first.stderr)
    const asked = service.asked.length
    t.is(asked, 5)
    const second = await guestAttest(args)
    t.is(second.code, 0, second.stderr)
    t.is(service.asked.length, asked)
})

test('verify cannot decide where the service does not answer', async (t) => {
    const { evidence, ask, out } = await setUp(t, { ...answersOf(intel), [PATHS.tcb]: failing(404) })
    const { code, stderr } = await guestAttest(['verify', evidence, ...ask, '--collateral', out, '--authentic-only'])
    t.is(code, 3, stderr)
})

const BUNDLE = 'snp-tdx/derived/collateral-F-2026-02-19-90c06f000000.json'
needs(vectors(BUNDLE))('a real bundle: what holds then, and what has expired since', async (t) => {
    const path = join(VECTORS, BUNDLE)
    const then = await guestAttest(['collateral', 'status', path, '--at', '2026-02-20'])
    t.is(then.code, 0, then.stdout)
    const later = await guestAttest(['collateral', 'status', path, '--at', '2026-03-25'])
    t.is(later.code, 1)
    t.regex(later.stdout, /^expired +TCB info of 90c06f000000 +2026-03-20T10:58Z/m)
    const out = join(temporaryFolder(t), 'again.json')
    const { code } = await guestAttest(['collateral', 'export', path, '--at', '2026-02-20', '--out', out])
    t.is(code, 0)
    t.is(JSON.parse(readFileSync(out, 'utf8')).tcb_info, JSON.parse(readFileSync(path, 'utf8')).tcb_info)
})
