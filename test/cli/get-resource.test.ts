// `get-resource`: what an emulated guest gets from a broker, what it does not get, and what it does not even ask for.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage } from '../stage.ts'
import {
    EMULATED_DEVICE,
    GUEST_NEEDS,
    GUEST_TIMEOUT_MS,
    type GuestRunner,
    hurriedConfig,
    type Inside,
    inOneGuest,
} from './inside.ts'
import { guestAttest } from './run.ts'

const ready = GUEST_NEEDS.every(({ met }) => met)
const possible = needs(...GUEST_NEEDS)
const asRoot = needs(ROOT, ...GUEST_NEEDS)

// Everything that takes its time comes before the first declaration.
const stage = ready ? await openStage() : undefined

// Somebody who counts who calls.
let calls = 0
const listener = createServer((socket) => {
    calls++
    socket.destroy()
})
await once(listener.listen(0, '127.0.0.1'), 'listening')
const LISTENER = `https://127.0.0.1:${(listener.address() as AddressInfo).port}`

const folder = temporaryFolder({ teardown: test.after.always })
test.after.always(async () => {
    listener.close()
    await stage?.close()
})

const TEXT_PATH = 'default/luks/text'
const UNNAMED_PATH = 'default/luks/unnamed'
const TEXT = Buffer.from('a text\n\0 and not only text \xff', 'latin1')
const OTHER_PIN = `sha256/${'A'.repeat(43)}=`

writeFileSync(join(folder, 'text'), TEXT)
writeFileSync(
    join(folder, 'texts.cedar'),
    `@id("texts") @insecureCustomRoot permit (principal, action == Action::"release", resource)
     when { principal.references.contains("web") && resource.path == "${TEXT_PATH}" };`,
)
test.before(async () => {
    await stage?.broker('put', TEXT_PATH, join(folder, 'text'))
    await stage?.broker('put', UNNAMED_PATH, '--random')
    await stage?.broker('policy', 'put', 'texts', join(folder, 'texts.cedar'))
})
writeFileSync(join(folder, 'there'), 'mine')

const url = stage?.url ?? ''
const broker = { url, pins: [stage?.pin ?? OTHER_PIN], allowPaths: ['default/luks/*'] }
const nobody = { url: LISTENER, pins: [OTHER_PIN], allowPaths: ['default/luks/*'] }
const ONE = hurriedConfig(folder, ready ? [broker] : [])
const SEVERAL = hurriedConfig(folder, ready ? [broker, nobody] : [nobody])
const NOBODY = hurriedConfig(folder, [nobody])
const WRONG_PIN = hurriedConfig(folder, ready ? [{ ...broker, pins: [OTHER_PIN] }] : [])
const NONE = hurriedConfig(folder)

interface Wanted extends Inside {
    readonly path: string
}

let files = 0
function get(resource: string, { more = [] as readonly string[], config = ONE, out = `got-${files++}` } = {}): Wanted {
    const path = join(folder, out)
    return {
        path,
        args: ['get-resource', `kbs:///${resource}`, '--out', path, ...more],
        env: { GUEST_ATTEST_CONFIG: config },
    }
}

const AS_KEY = ['--use', 'luks-key']

const RELEASED = [
    { name: 'a disk key', resource: KEY_PATH, ...get(KEY_PATH, { more: AS_KEY }) },
    { name: 'the same again', resource: KEY_PATH, ...get(KEY_PATH, { more: AS_KEY }) },
    { name: 'a text, as it was put', resource: TEXT_PATH, ...get(TEXT_PATH) },
    {
        name: 'from the broker that is named',
        resource: TEXT_PATH,
        ...get(TEXT_PATH, { more: ['--url', url], config: SEVERAL }),
    },
]

const REFUSED = [
    { name: 'a disk key without asking for one', ...get(KEY_PATH), code: 1, says: /ERR_KBS_DENIED/ },
    { name: 'a text as a disk key', ...get(TEXT_PATH, { more: AS_KEY }), code: 1, says: /ERR_KBS_DENIED/ },
    { name: 'what no rule names', ...get(UNNAMED_PATH, { more: AS_KEY }), code: 1, says: /ERR_KBS_DENIED/ },
    { name: 'what there is not', ...get('default/luks/none'), code: 1, says: /ERR_KBS_NOT_FOUND/ },
    {
        name: 'a file that is there',
        ...get(TEXT_PATH, { out: 'there' }),
        code: 2,
        says: /is there already[\s\S]*hint: nothing is overwritten/,
    },
    { name: 'a path that is not allowed', ...get('default/tls/web'), code: 1, says: /ERR_UNLOCK_PATH[\s\S]*allowed: / },
    { name: 'no broker at all', ...get(TEXT_PATH, { config: NONE }), code: 2, says: /no broker is trusted/ },
    {
        name: 'a broker with another key',
        ...get(TEXT_PATH, { config: WRONG_PIN }),
        code: 1,
        says: /ERR_HTTP_TLS/,
    },
    { name: 'a broker that hangs up', ...get(TEXT_PATH, { config: NOBODY }), code: 3, says: /ERR_HTTP_CONNECT/ },
]

// Refused before a connection is made.
const SILENT = [
    {
        name: 'a path that is not allowed, of somebody who is trusted',
        ...get('default/tls/web', { config: NOBODY }),
        code: 1,
        says: /ERR_UNLOCK_PATH/,
    },
    {
        name: 'a broker that is not trusted',
        ...get(TEXT_PATH, { more: ['--url', LISTENER] }),
        code: 1,
        says: /is no broker that this guest trusts: nothing was sent to it \(ERR_UNLOCK_NOT_ANCHORED\)/,
    },
    {
        name: 'several brokers, and none is named',
        ...get(TEXT_PATH, { config: SEVERAL }),
        code: 2,
        says: /several brokers are trusted/,
    },
]

const guest: GuestRunner = (command) => {
    if (!stage) throw new TypeError('there is no stage here')
    return stage.guest(command, { timeoutMs: GUEST_TIMEOUT_MS })
}
// An ordinary user's guest trusts its configuration because it is emulated.
const UNTOLD = { ...get(TEXT_PATH), env: { GUEST_ATTEST_CONFIG: ONE, [EMULATED_DEVICE]: null } }

const ended = inOneGuest(guest, [...RELEASED, ...REFUSED, UNTOLD])
const silent = inOneGuest(guest, SILENT)

for (const refused of SILENT)
    possible.serial(`nobody is called: ${refused.name}`, async (t) => {
        const { code, stderr } = await silent(refused)
        t.is(code, refused.code, stderr)
        t.regex(stderr, refused.says)
        t.false(existsSync(refused.path))
        t.is(calls, 0)
    })

for (const released of RELEASED)
    possible.serial(`released: ${released.name}`, async (t) => {
        const { code, stdout, stderr } = await ended(released)
        t.is(code, 0, stderr)
        t.is(stdout, '')
        t.is(statSync(released.path).mode & 0o777, 0o600)
        const bytes = readFileSync(released.path)
        t.true(stderr.includes(`${bytes.length} bytes of ${released.resource} from ${url} in ${released.path}`), stderr)
        if (released.resource === TEXT_PATH) t.deepEqual(bytes, TEXT)
        else t.deepEqual(bytes, readFileSync(RELEASED[0]?.path ?? ''))
        t.is(bytes.length, released.resource === TEXT_PATH ? TEXT.length : 32)
    })

for (const refused of REFUSED)
    possible.serial(`refused: ${refused.name}`, async (t) => {
        const { code, stdout, stderr } = await ended(refused)
        t.is(code, refused.code, stderr)
        t.is(stdout, '')
        t.regex(stderr, refused.says)
        if (refused.path.endsWith('there')) t.is(readFileSync(refused.path, 'utf8'), 'mine')
        else t.false(existsSync(refused.path))
    })

asRoot.serial('refused: a device that is a file', async (t) => {
    const { code, stderr } = await ended(UNTOLD)
    t.is(code, 1)
    t.regex(stderr, /ERR_DEVICE_KIND/)
    t.false(existsSync(UNTOLD.path))
})

possible.serial('the broker has counted what was released, and nothing else; nothing else is left', async (t) => {
    const { stdout = '[]' } = (await stage?.broker('list', '--json')) ?? {}
    const counts = JSON.parse(stdout).map((row: { path: string; releases: number }) => [row.path, row.releases])
    t.deepEqual(Object.fromEntries(counts), { [KEY_PATH]: 2, [TEXT_PATH]: 2, [UNNAMED_PATH]: 0 })
    const got = readdirSync(folder).filter((name) => !/^(?:etc-|text|there)/.test(name))
    t.is(got.length, RELEASED.length)
    t.true(calls > 0, 'who hangs up was called')
})

for (const { name, args, code, says } of [
    { name: 'no file', args: [`kbs:///${TEXT_PATH}`], code: 2, says: /missing required argument: out/ },
    { name: 'no resource', args: ['--out', 'x'], code: 2, says: /get-resource: expected <uri>/ },
    { name: 'a resource of two names', args: ['kbs:///default/luks', '--out', 'x'], code: 2, says: /ERR_KBS_URI/ },
    { name: 'a resource that climbs', args: ['kbs:///default/../x', '--out', 'x'], code: 2, says: /ERR_KBS_URI/ },
    {
        name: 'a kind that there is not',
        args: ['kbs:///a/b/c', '--out', 'x', '--use', 'text'],
        code: 2,
        says: /"luks-key"/,
    },
    {
        name: 'no guest',
        args: [`kbs:///${TEXT_PATH}`, '--out', 'x', '--url', LISTENER],
        code: 1,
        says: /this machine is no guest of AMD SEV-SNP.* \(ERR_NO_TEE\)/,
    },
])
    test(`outside a guest: ${name}`, async (t) => {
        const cwd = temporaryFolder(t)
        const ran = await guestAttest(['get-resource', ...args], { cwd, env: { GUEST_ATTEST_CONFIG: NOBODY } })
        t.is(ran.code, code, ran.stderr)
        t.is(ran.stdout, '')
        t.regex(ran.stderr, says)
        t.deepEqual(readdirSync(cwd), [])
    })
