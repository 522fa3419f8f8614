// From anchors to a key, against brokers on real sockets: whom it asks, in which order, how often, and what it takes for a key.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import type { AttestError } from '#core/errors.ts'
import { encryptTo } from '#core/jwe.ts'
import { silent } from '#core/log.ts'
import { driverError } from '#drivers/errors.ts'
import type { Attester } from '#kbs/client.ts'
import { temporaryFolder } from '#test/folder.ts'
import { parseAnchor } from '#unlock/anchors.ts'
import { bootDenials } from '#unlock/denials.ts'
import { type KeyRequest, type ReleaseDeps, release } from '#unlock/release.ts'
import { type Answer, ATTESTER, PATH, refusal, type Script, scripted } from '../kbs/scripted.ts'

const NAMED = 'default/luks/a'
const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i))
const MINUTE = 60_000

/** A broker whose scripts take effect one handshake after the other; the last one stays. Null: it never answers. */
async function broker(t: ExecutionContext, ...scripts: (Script | null)[]) {
    const asked: string[] = []
    let handshakes = 0
    const listeners = scripts.map((script) => script && scripted(script, asked))
    const server = createServer((request, response) => {
        if (request.url?.endsWith('/auth')) handshakes++
        listeners[Math.min(handshakes, listeners.length) - 1]?.(request, response)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
        server.closeAllConnections()
        server.close()
    })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return { url, asked, handshakes: () => handshakes }
}

const gives = (resource: string | Uint8Array): Script => ({
    resource: (teeKey) => ({ body: encryptTo(teeKey, Buffer.from(resource)) }),
})
const GOOD = gives(KEY)
const resource = (status: number, body: unknown = ''): Script => ({ resource: (): Answer => ({ status, body }) })
const DENIES = resource(403, refusal('PolicyDeny'))
const DISBELIEVES: Script = { attest: { status: 401, body: refusal('AttestationError') } }
const LACKS = resource(404, refusal('PluginInternalError'))
const TEXT = 'hunter2hunter2'
const BUSY: Script = { auth: { status: 503, body: '' } }

function deps(t: ExecutionContext, urls: readonly string[], changed: Partial<ReleaseDeps> = {}): ReleaseDeps {
    return {
        anchors: urls.map((url) => parseAnchor({ url, insecureHttp: true, allowPaths: [NAMED] }, `${url}.toml`)),
        attester: async () => ATTESTER,
        denials: bootDenials(join(temporaryFolder(t), 'denied')),
        log: silent,
        deadlineMs: MINUTE,
        requestTimeoutMs: MINUTE,
        staggerMs: MINUTE,
        ...changed,
    }
}

/** The key itself. */
const releaseKey = (request: KeyRequest, from: ReleaseDeps): Promise<Buffer> =>
    release(request, from, ({ key }) => Buffer.from(key))

const JSON_KEY = 'abcdefghijklmnopqrstuvwxyz!~"\\{}'
const trustee = (key: unknown, more = {}): string => JSON.stringify({ key_type: 'oct', key, ...more })

for (const { name, given, want } of [
    { name: '32 bytes', given: KEY, want: KEY },
    { name: '32 bytes that could be JSON', given: `{${' '.repeat(30)}}`, want: Buffer.from(`{${' '.repeat(30)}}`) },
    { name: 'the JSON key of clevis-pin-trustee', given: trustee(JSON_KEY), want: Buffer.from(JSON_KEY) },
    {
        name: 'the same in lines',
        given: JSON.stringify(JSON.parse(trustee(JSON_KEY)), null, 4),
        want: Buffer.from(JSON_KEY),
    },
    { name: 'the same with more members', given: trustee(JSON_KEY, { kid: 'x' }), want: Buffer.from(JSON_KEY) },
])
    test(`a key: ${name}`, async (t) => {
        const { url } = await broker(t, gives(given))
        t.deepEqual(await releaseKey({ servers: [url], path: PATH }, deps(t, [url])), want)
    })

for (const { name, given } of [
    { name: 'nothing', given: '' },
    { name: '31 bytes', given: KEY.subarray(1) },
    { name: '33 bytes', given: Buffer.concat([KEY, Buffer.of(0x0a)]) },
    { name: 'a passphrase', given: TEXT },
    { name: 'a key in hex', given: KEY.toString('hex') },
    { name: 'a JSON key of 31 characters', given: trustee(JSON_KEY.slice(1)) },
    { name: 'a JSON key of 33 characters', given: trustee(`${JSON_KEY}x`) },
    { name: 'a JSON key with a space', given: trustee(`${JSON_KEY.slice(1)} `) },
    { name: 'a JSON key beyond ASCII', given: trustee(`${JSON_KEY.slice(1)}ü`) },
    { name: 'a JSON key that is no text', given: trustee([JSON_KEY]) },
    { name: 'a JSON key of another type', given: JSON.stringify({ key_type: 'EC', key: JSON_KEY }) },
    { name: 'a JSON key without a type', given: JSON.stringify({ key: JSON_KEY }) },
    { name: 'a JSON key behind much else', given: trustee(JSON_KEY, { pad: 'x'.repeat(1000) }) },
    { name: 'a JSON key in an array', given: `[${trustee(JSON_KEY)}]` },
    { name: 'JSON that breaks off', given: `{"key_type":"oct","key":"${TEXT}` },
    { name: 'JSON with a key twice', given: `{"${TEXT}":1,"${TEXT}":2}` },
])
    test(`no key, and no word of it is told: ${name}`, async (t) => {
        const first = await broker(t, gives(given))
        const servers = [first.url]
        const said: string[] = []
        const log = { ...silent, warn: (...words: unknown[]) => void said.push(JSON.stringify(words)) }
        const error = await t.throwsAsync<AttestError>(releaseKey({ servers, path: PATH }, deps(t, servers, { log })), {
            code: 'ERR_UNLOCK_KEY',
        })
        for (const text of [error?.stack ?? '', String(error?.cause), ...said])
            t.notRegex(text, /hunter2|abcdef|fffefd/)
    })

for (const { name, first, second = GOOD, code, asked } of [
    { name: 'the first gives it', first: [GOOD], asked: [1, 0] },
    { name: 'the first is busy', first: [BUSY], asked: [null, 1] }, // again as soon as it may
    { name: 'the first does not have it', first: [LACKS], asked: [1, 1] },
    { name: 'the first redirects', first: [{ auth: { status: 302 } }], asked: [1, 1] },
    { name: 'the first talks nonsense', first: [{ auth: { body: '<html>' } }], asked: [1, 1] },
    { name: 'the first gives it to somebody else', first: [{ resource: { body: {} } }], asked: [1, 1] },
    { name: 'the first forgets', first: [resource(401, refusal('TokenNotFound'))], asked: [1, 1] },
    { name: 'the first denies', first: [DENIES], asked: [1, 1] },
    { name: 'the first disbelieves', first: [DISBELIEVES], asked: [1, 1] },
    { name: 'the first gives what is no key', first: [gives(TEXT)], asked: [1, 1] },
    { name: 'both deny', first: [DENIES], second: DENIES, code: 'ERR_KBS_DENIED', asked: [1, 1] },
    { name: 'one denies, the other lacks it', first: [DENIES], second: LACKS, code: 'ERR_KBS_DENIED', asked: [1, 1] },
    { name: 'none has it', first: [LACKS], second: LACKS, code: 'ERR_KBS_NOT_FOUND', asked: [1, 1] },
    { name: 'the second denies', first: [LACKS], second: DENIES, code: 'ERR_KBS_DENIED', asked: [1, 1] },
    {
        name: 'the first is busy for a while, the second lacks it',
        first: [BUSY, BUSY, GOOD],
        second: LACKS,
        asked: [3, 1],
    },
    {
        name: 'the first is busy, then has nothing',
        first: [BUSY, LACKS],
        second: LACKS,
        code: 'ERR_KBS_NOT_FOUND',
        asked: [2, 1],
    },
] as { name: string; first: Script[]; second?: Script; code?: string; asked: (number | null)[] }[])
    test(`two brokers: ${name}`, async (t) => {
        const brokers = [await broker(t, ...first), await broker(t, second)]
        const servers = brokers.map(({ url }) => url)
        const asking = releaseKey({ servers, path: PATH }, deps(t, servers))
        if (code === undefined) t.deepEqual(await asking, KEY)
        else await t.throwsAsync(asking, { code })
        t.deepEqual(
            brokers.map(({ handshakes }, i) => (asked[i] === null ? null : handshakes())),
            asked,
        )
        t.true(brokers.every(({ handshakes }) => handshakes() > 0 || asked.includes(0)))
    })

test('two brokers: the first is silent, the second is asked meanwhile', async (t) => {
    const brokers = [await broker(t, null), await broker(t, GOOD)]
    const servers = brokers.map(({ url }) => url)
    t.deepEqual(await releaseKey({ servers, path: PATH }, deps(t, servers, { staggerMs: 50 })), KEY)
    t.deepEqual(
        brokers.map(({ handshakes }) => handshakes()),
        [1, 1],
    )
})

test('two brokers: the first key that opens wins', async (t) => {
    const servers = [(await broker(t, gives(Buffer.alloc(32, 1)))).url, (await broker(t, GOOD)).url]
    const opened = await release({ servers, path: PATH }, deps(t, servers, { persistent: true }), ({ key }) => {
        if (!KEY.equals(key)) throw driverError('ERR_DEVICE_IO', 'does not open')
        return 'opened'
    })
    t.is(opened, 'opened')
})

/** Longer than a handshake takes on a machine that has much to do. */
const TRYING_MS = 2000

/** Two brokers; what the second one is asked while a key of the first is being tried, and what is used in which order. */
async function whileTrying(t: ExecutionContext, opens: (key: Buffer) => boolean, staggerMs: number) {
    const other = Buffer.alloc(32, 1)
    const brokers = [await broker(t, GOOD), await broker(t, gives(other))]
    const servers = brokers.map(({ url }) => url)
    const askedMeanwhile: string[] = []
    const used: string[] = []
    let running = 0
    const released = release({ servers, path: PATH }, deps(t, servers, { staggerMs }), async ({ key }) => {
        t.is(++running, 1)
        const own = Buffer.from(key)
        used.push(other.equals(own) ? 'second' : 'first')
        const before = brokers[1]?.asked.length ?? 0
        await sleep(TRYING_MS)
        askedMeanwhile.push(...(brokers[1]?.asked.slice(before) ?? []))
        running--
        if (!opens(own)) throw driverError('ERR_DEVICE_IO', 'does not open')
        return own
    })
    const opened = await released.catch((error: unknown) => error)
    await sleep(300) // whoever was held back would go on now
    return { opened, used, askedMeanwhile, asked: brokers.map(({ asked }) => asked), other }
}

const resources = (asked: readonly string[] | undefined) => asked?.filter((line) => line.includes('/resource/')).length

test('two brokers: while a key is tried no other one is released, and after it has opened neither', async (t) => {
    const { opened, used, asked } = await whileTrying(t, () => true, TRYING_MS / 2)
    t.deepEqual(opened, KEY)
    t.deepEqual(used, ['first'])
    t.is(resources(asked[1]), 0)
})

test('two brokers at the same time: one key is tried', async (t) => {
    const { opened, used } = await whileTrying(t, () => true, 0)
    t.true(Buffer.isBuffer(opened))
    t.is(used.length, 1)
})

test('two brokers: who was held back is asked after a key that does not open', async (t) => {
    const { opened, used, askedMeanwhile, asked, other } = await whileTrying(
        t,
        (key) => !KEY.equals(key),
        TRYING_MS / 2,
    )
    t.deepEqual(opened, other)
    t.deepEqual(used, ['first', 'second'])
    t.is(resources(askedMeanwhile), 0)
    t.deepEqual(asked.map(resources), [1, 1])
})

test('a key that opens nothing is asked for once, however persistent', async (t) => {
    const { url, handshakes } = await broker(t, GOOD)
    const fail = () => {
        throw driverError('ERR_DEVICE_IO', 'does not open')
    }
    await t.throwsAsync(release({ servers: [url], path: PATH }, deps(t, [url], { persistent: true }), fail), {
        message: 'does not open',
    })
    t.is(handshakes(), 1)
})

test('the key is wiped after its use', async (t) => {
    const { url } = await broker(t, GOOD)
    const key = await release({ servers: [url], path: PATH }, deps(t, [url]), (released) => {
        t.deepEqual(Buffer.from(released.key), KEY)
        return released.key
    })
    t.deepEqual(Buffer.from(key), Buffer.alloc(32))
})

test('two brokers: nobody listens at the first', async (t) => {
    const { url } = await broker(t, GOOD)
    const servers = ['http://127.0.0.1:1', url]
    t.deepEqual(await releaseKey({ servers, path: PATH }, deps(t, servers)), KEY)
})

for (const { name, script, code, remembered } of [
    { name: 'a denial', script: DENIES, code: 'ERR_KBS_DENIED', remembered: true },
    { name: 'evidence that is not believed', script: DISBELIEVES, code: 'ERR_KBS_ATTESTATION', remembered: true },
    { name: 'a path that is not there', script: LACKS, code: 'ERR_KBS_NOT_FOUND', remembered: false },
    { name: 'a resource that is no key', script: gives(TEXT), code: 'ERR_UNLOCK_KEY', remembered: false },
])
    test(`${name} is ${remembered ? 'not asked for again at once' : 'asked for again'}`, async (t) => {
        const { url, handshakes } = await broker(t, script, GOOD)
        const ours = deps(t, [url])
        const again = () => releaseKey({ servers: [url], path: PATH }, ours)
        await t.throwsAsync(again(), { code })
        if (remembered) await t.throwsAsync(again(), { code: 'ERR_UNLOCK_DENIED_EARLIER', message: /because/ })
        else t.deepEqual(Buffer.from(await again()), KEY)
        t.is(handshakes(), remembered ? 1 : 2)
    })

test('a broker that denied earlier is passed over', async (t) => {
    const brokers = [await broker(t, GOOD), await broker(t, GOOD)]
    const servers = brokers.map(({ url }) => url)
    const ours = deps(t, servers)
    ours.denials.remember(servers[0] as string, NAMED, 'because')
    t.deepEqual(await releaseKey({ servers, path: PATH }, ours), KEY)
    t.deepEqual(
        brokers.map(({ handshakes }) => handshakes()),
        [0, 1],
    )
})

for (const { name, changed, code } of [
    { name: 'one that is not trusted', changed: { anchors: 1 }, code: 'ERR_UNLOCK_NOT_ANCHORED' },
    { name: 'one that may not open with this path', changed: { paths: 'default/luks/b' }, code: 'ERR_UNLOCK_PATH' },
] as { name: string; changed: { anchors?: number; paths?: string }; code: string }[])
    test(`nobody is asked, and the device stays shut, where the second broker is ${name}`, async (t) => {
        const brokers = [await broker(t, GOOD), await broker(t, GOOD)]
        const [one = '', two = ''] = brokers.map(({ url }) => url)
        const ours = deps(t, changed.anchors ? [one] : [one, two], {
            attester: async () => {
                t.fail()
                return ATTESTER
            },
        })
        const anchors = ours.anchors.map((anchor) =>
            changed.paths && anchor.origin.origin === two ? { ...anchor, allowPaths: [changed.paths] } : anchor,
        )
        await t.throwsAsync(releaseKey({ servers: [one, two], path: PATH }, { ...ours, anchors }), { code })
        for (const { asked } of brokers) t.deepEqual(asked, [])
    })

for (const { name, scripts, says, deadlineMs } of [
    {
        name: 'busy all the time',
        scripts: [[BUSY]],
        says: /^gave up after 3 s: the broker answers 503$/,
        deadlineMs: 3000,
    },
    { name: 'mute', scripts: [[null]], says: /^gave up after 0\.3 s, with no answer from http:\S+$/, deadlineMs: 300 },
    {
        name: 'mute, both',
        scripts: [[null], [null]],
        says: /^gave up after 0\.3 s, with no answer from/,
        deadlineMs: 300,
    },
    { name: 'busy, then mute', scripts: [[BUSY, null]], says: /: the broker answers 503$/, deadlineMs: 3000 },
    { name: 'busy, and mute', scripts: [[BUSY], [null]], says: /: the broker answers 503$/, deadlineMs: 3000 },
] as { name: string; scripts: (Script | null)[][]; says: RegExp; deadlineMs: number }[])
    test(`given up at the deadline, with the last reason: ${name}`, async (t) => {
        const brokers = await Promise.all(scripts.map((script) => broker(t, ...script)))
        const servers = brokers.map(({ url }) => url)
        const error = await t.throwsAsync<AttestError>(
            releaseKey({ servers, path: PATH }, deps(t, servers, { deadlineMs })),
            { code: 'ERR_UNLOCK_GAVE_UP', message: says },
        )
        t.is(error?.exit, 3)
        if (scripts.length > 1 && scripts[0]?.[0] === null) t.is(brokers[1]?.handshakes(), 0)
    })

const throwing = (error: Error) => async (): Promise<Attester> => {
    throw error
}

for (const { name, attester, want } of [
    { name: 'no guest', attester: throwing(driverError('ERR_NO_TEE', 'none')), want: { code: 'ERR_NO_TEE' } },
    { name: 'a mistake of ours', attester: throwing(new TypeError('oops')), want: { message: 'oops' } },
    {
        name: 'a device that has lost its key',
        attester: async () => ({
            ...ATTESTER,
            guest: { ...ATTESTER.guest, evidence: throwing(driverError('ERR_DEVICE_KEY_LOST', 'gone')) as never },
        }),
        want: { code: 'ERR_DEVICE_KEY_LOST' },
    },
])
    test(`does not pass by waiting: ${name}`, async (t) => {
        const { url, handshakes } = await broker(t, GOOD)
        await t.throwsAsync(releaseKey({ servers: [url], path: PATH }, deps(t, [url], { attester })), want)
        t.true(handshakes() <= 1)
    })

/** A device that is busy so often; how often it was opened, and closed. */
function device(busy = 0) {
    const count = { opened: 0, closed: 0 }
    const attester = async (): Promise<Attester> => {
        if (++count.opened <= busy) throw driverError('ERR_DEVICE_BUSY', 'busy')
        return { ...ATTESTER, [Symbol.dispose]: () => void count.closed++ }
    }
    return { attester, count }
}

test('a device that is busy when it is opened is opened again', async (t) => {
    const { url } = await broker(t, GOOD)
    const { attester, count } = device(2)
    t.deepEqual(await releaseKey({ servers: [url], path: PATH }, deps(t, [url], { attester })), KEY)
    t.deepEqual(count, { opened: 3, closed: 1 })
})

test('a device that was opened stays so while brokers are busy, and is closed in the end', async (t) => {
    const { url } = await broker(t, BUSY, BUSY, GOOD)
    const { attester, count } = device()
    await releaseKey({ servers: [url], path: PATH }, deps(t, [url], { attester }))
    t.deepEqual(count, { opened: 1, closed: 1 })
})

test('a device is closed, too, where the broker refuses', async (t) => {
    const { url } = await broker(t, DENIES)
    const { attester, count } = device()
    await t.throwsAsync(releaseKey({ servers: [url], path: PATH }, deps(t, [url], { attester })), {
        code: 'ERR_KBS_DENIED',
    })
    t.deepEqual(count, { opened: 1, closed: 1 })
})
