// `doctor --url` in an emulated guest: a real broker, others that are not what they should be, and how far it goes.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { KEY_PATH, openStage } from '../stage.ts'
import { checkFindings, type DoctorCase, type Wanted } from './findings.ts'
import { GUEST_NEEDS, GUEST_TIMEOUT_MS, hurriedConfig, inOneGuest } from './inside.ts'
import { guestAttest, type Ran } from './run.ts'

const possible = needs(...GUEST_NEEDS)

// Everything that takes its time comes before the first declaration.
const stage = GUEST_NEEDS.every(({ met }) => met) ? await openStage() : undefined

const folder = temporaryFolder({ teardown: test.after.always })
test.after.always(() => stage?.close())

const OTHER_PIN = `sha256/${'A'.repeat(43)}=`
const CLOSED = 'https://127.0.0.1:1'
const url = stage?.url ?? CLOSED
const anchor = { url, pins: [stage?.pin ?? OTHER_PIN], allowPaths: ['default/luks/*'] }

const TRUSTED = hurriedConfig(folder, [anchor])
const ONE_PATH = hurriedConfig(folder, [{ ...anchor, allowPaths: [KEY_PATH] }])
const WRONG_PIN = hurriedConfig(folder, [{ ...anchor, pins: [OTHER_PIN] }])
const GONE = hurriedConfig(folder, [{ ...anchor, url: CLOSED }])

const REACHED: Wanted = {
    address: ['good', new RegExp(`^${RegExp.escape(url)}$`)],
    name: ['good', /^127\.0\.0\.1$/],
    anchor: ['good', /trust\.d\/0\.toml: default\/luks\//],
    connection: ['good', /^it answers, and is the server that is trusted$/],
    clock: ['good', /^-?\d+ s off the broker's$/],
}
const RELEASED: Wanted = {
    ...REACHED,
    release: ['good', /^32 bytes of default\/luks\/web, wiped; the broker has counted/],
}

interface Row extends Omit<DoctorCase, 'args' | 'env'> {
    readonly broker?: string
    readonly path?: string
    readonly config?: string
}

const asCase = ({ broker = url, path, config = TRUSTED, ...row }: Row): DoctorCase => ({
    ...row,
    args: ['doctor', '--json', '--url', broker, ...(path === undefined ? [] : ['--path', path])],
    env: { GUEST_ATTEST_CONFIG: config },
})

const CASES = [
    { name: 'a key that would be released', path: KEY_PATH, want: RELEASED },
    { name: 'the one path that is allowed', config: ONE_PATH, want: RELEASED },
    {
        name: 'several paths, and none is named',
        want: { ...REACHED, release: ['unknown', /^not asked: name a resource with --path$/] },
    },
    {
        name: 'a path that is not allowed',
        path: 'default/tls/web',
        want: { ...REACHED, release: ['bad', /nothing was sent to it \(ERR_UNLOCK_PATH\)/, /^allowed: default/] },
    },
    {
        name: 'a path that is none',
        path: 'default/luks',
        want: { ...REACHED, release: ['bad', /ERR_KBS_URI/] },
    },
    {
        name: 'a key that there is not',
        path: 'default/luks/none',
        want: { ...REACHED, release: ['bad', /ERR_KBS_NOT_FOUND/] },
    },
    {
        name: 'a broker with another key',
        path: KEY_PATH,
        config: WRONG_PIN,
        want: { anchor: ['good', /default/], connection: ['bad', /ERR_HTTP_TLS/] },
        not: ['clock', 'release'],
    },
    {
        name: 'a broker that cannot be reached',
        broker: CLOSED,
        path: KEY_PATH,
        config: GONE,
        want: { anchor: ['good', /default/], connection: ['bad', /ERR_HTTP_CONNECT/] },
        not: ['clock', 'release'],
    },
    {
        name: 'another port of the broker that is trusted',
        broker: CLOSED,
        path: KEY_PATH,
        want: { address: ['good', /127/], anchor: ['bad', /ERR_UNLOCK_NOT_ANCHORED/] },
        not: ['connection', 'clock', 'release'],
    },
] satisfies Row[] as unknown as Row[]

const inside = CASES.map(asCase)

function guest(command: readonly string[], measurement?: string): Promise<Ran> {
    if (!stage) throw new TypeError('there is no stage here')
    return stage.guest(command, { timeoutMs: GUEST_TIMEOUT_MS, ...(measurement === undefined ? {} : { measurement }) })
}
const ended = inOneGuest(guest, inside)

for (const one of inside)
    possible.serial(`in a guest: ${one.name}`, async (t) => checkFindings(t, await ended(one), one))

possible.serial('the broker has counted what it released to the doctor', async (t) => {
    const { stdout = '[]' } = (await stage?.broker('list', '--json')) ?? {}
    t.is(JSON.parse(stdout).find((row: { path: string }) => row.path === KEY_PATH).releases, 2)
})

const denied = asCase({
    name: 'in a guest that the broker does not know',
    path: KEY_PATH,
    want: { ...REACHED, release: ['bad', /ERR_KBS_DENIED/] },
})

possible.serial(denied.name, async (t) => {
    const unknown = inOneGuest((command) => guest(command, 'ee'.repeat(48)), [denied])
    checkFindings(t, await unknown(denied), denied)
})

possible.serial('outside of a guest: it answers, and nothing can be released', async (t) => {
    const { args } = asCase({ name: '', path: KEY_PATH, want: {} })
    checkFindings(t, await guestAttest(args, { env: { GUEST_ATTEST_CONFIG: TRUSTED } }), {
        name: '',
        want: { ...REACHED, guest: ['unknown', /^none of /], release: ['bad', /ERR_NO_TEE/] },
    })
})
