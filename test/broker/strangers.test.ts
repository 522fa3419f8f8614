// Peers that have proved nothing, and guests that nobody knows: what they can cost, and that others are served beside them.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { PassThrough } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test, { type ExecutionContext } from 'ava'
import { type BodyRequest, bodies } from '#broker/http/bodies.ts'
import { networkOf, shares } from '#broker/shares.ts'
import { AUTH, asker, attest, cookieOf, filled, proof, type Rig, records, rig, teeKey } from './rig.ts'

const MIB = 1024 * 1024

/** A peer with an address of its own: all of 127.0.0.0/8 is this machine. */
function peer(t: ExecutionContext, { serving }: Rig, localAddress: string): Rig['ask'] {
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false, localAddress } as object)
    t.teardown(() => agent.destroy())
    return asker(serving.url, agent)
}

for (const [address, network] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['2001::2:3:4:5:6:7', '2001:0:2:3'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
] as const)
    test(`${address} is of ${network}`, (t) => void t.is(networkOf(address), network))

test('shares: one takes its part, all take the whole, and what is given back is there again', (t) => {
    const { take, give, fits } = shares({ most: 3, mostOfOne: 2 })
    t.deepEqual(
        ['a', 'a', 'a', 'b', 'b'].map((who) => take(who, 1)),
        [true, true, false, true, false],
    )
    give('a', 2)
    t.true(fits('a', 2))
    t.false(fits('a', 3))
    t.true(take('2001:db8::1', 2))
    t.false(take('2001:db8::2', 1))
})

// Nothing is proved yet: what is answered and logged is short, whatever was sent.
for (const { name, body } of [
    { name: 'unknown keys', body: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`key ${i}`, i])) },
    { name: 'a long key that stands twice', body: `{"${'x'.repeat(1_000_000)}":1,"${'x'.repeat(1_000_000)}":2}` },
])
    test(`a refusal is short: ${name}`, async (t) => {
        const { ask, log } = await rig(t)
        const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
        const answer = await ask('POST', '/kbs/v0/attest', body, { cookie: cookieOf(challenge) })
        t.is(answer.status, 400)
        t.true(answer.body.length < 3000, `${answer.body.length}`)
        t.true(log.some((line) => line.startsWith('info refused')))
        for (const line of log) t.true(line.length < 3000, `${line.length}`)
    })

/** The head of an attestation of 4 MiB, and all of it but the end. */
async function stalled(t: ExecutionContext, broker: Rig, localAddress: string) {
    const challenge = await peer(t, broker, localAddress)('POST', '/kbs/v0/auth', AUTH)
    const call = request(`${broker.serving.url}/kbs/v0/attest`, {
        method: 'POST',
        rejectUnauthorized: false,
        localAddress,
        headers: { 'content-type': 'application/json', 'content-length': 4 * MIB, cookie: cookieOf(challenge) },
    })
    t.teardown(() => call.destroy())
    call.on('error', () => undefined)
    const answer = new Promise<number>((resolve) => call.on('response', ({ statusCode }) => resolve(statusCode ?? 0)))
    call.write(Buffer.alloc(4 * MIB - 10, ' '))
    return { call, answer }
}

test('bodies under way have a bound for one address, and one for all', async (t) => {
    const settings = { maxBodiesBytes: 8 * MIB, maxBodiesPerAddressBytes: 4 * MIB }
    const broker = await rig(t, { settings })
    const first = await stalled(t, broker, '127.0.0.2')
    const ask = peer(t, broker, '127.0.0.2')
    const refused = async (who: Rig['ask'], size = 1000) => {
        const challenge = await who('POST', '/kbs/v0/auth', AUTH)
        const answer = await who('POST', '/kbs/v0/attest', ' '.repeat(size), { cookie: cookieOf(challenge) })
        return answer.status === 429 && answer.headers['retry-after'] === '30'
    }
    await until(() => refused(ask))
    t.truthy((await attest(peer(t, broker, '127.0.0.3'), broker.vendor)).cookie, 'others are served')
    await stalled(t, broker, '127.0.0.4')
    await until(() => refused(peer(t, broker, '127.0.0.3')))
    first.call.destroy()
    await until(async () => !(await refused(ask)))
    const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
    const message = proof(broker.vendor, challenge.json.nonce, teeKey().jwk)
    const again = await stalled(t, broker, '127.0.0.2')
    const cookie = cookieOf(challenge)
    await until(async () => (await ask('POST', '/kbs/v0/attest', ' '.repeat(1000), { cookie })).status === 429)
    again.call.destroy()
    await until(async () => (await ask('POST', '/kbs/v0/attest', message, { cookie })).status !== 429)
    const last = await ask('POST', '/kbs/v0/attest', message, { cookie })
    t.regex(last.json.detail, /used already/, 'what was refused for want of room has not used the challenge up')
})

const body = (headers: Record<string, string> = {}, bodyLimit = 4 * MIB) =>
    ({ ip: '192.0.2.1', headers, routeOptions: { bodyLimit } }) as unknown as BodyRequest

test('a body is kept as bytes, not as the pieces that it came in', async (t) => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const { take, give, fits } = shares({ most: 64 * 1024, mostOfOne: 64 * 1024 })
    const payload = new PassThrough()
    const whole = bodies({ take, give, fits }).read(body(), payload)
    const pieces = Array.from({ length: 1000 }, (_, i) => Buffer.from([i % 256]))
    const seen = pieces.map((piece) => new WeakRef(piece))
    for (const piece of pieces.splice(0)) payload.write(piece)
    await until(async () => {
        await new Promise((resolve) => setImmediate(resolve))
        collect()
        return seen.filter((piece) => piece.deref()).length < 10
    })
    t.false(fits('192.0.2.1', 48 * 1024 + 1), 'the memory is what is counted')
    payload.end()
    t.deepEqual(
        [...(await whole)],
        Array.from({ length: 1000 }, (_, i) => i % 256),
    )
    t.true(fits('192.0.2.1', 64 * 1024))
})

for (const { name, headers, bytes, message } of [
    { name: 'announced too large', headers: { 'content-length': '101' }, bytes: 0, message: /too large/ },
    { name: 'too large without announcing it', headers: {}, bytes: 101, message: /too large/ },
    { name: 'more than there is room for', headers: {}, bytes: 60, message: /under way/ },
])
    test(`a body is refused: ${name}`, async (t) => {
        const all = shares({ most: 50, mostOfOne: 50 })
        const payload = new PassThrough()
        const whole = bodies(all).read(body(headers, 100), payload)
        payload.write(Buffer.alloc(bytes))
        await t.throwsAsync(whole, { message })
        t.true(all.fits('192.0.2.1', 50), 'nothing of it is kept')
    })

test('one address holds its share of the connections, and others come in beside it', async (t) => {
    const broker = await rig(t, { settings: { maxConnections: 8, maxConnectionsPerAddress: 4 } })
    const { hostname, port } = new URL(broker.serving.url)
    const connect = (localAddress: string) => {
        const socket = connectTls({
            host: hostname,
            port: Number(port),
            rejectUnauthorized: false,
            localAddress,
        } as object)
        t.teardown(() => socket.destroy())
        const outcome = Promise.race([
            once(socket, 'secureConnect').then(() => 'open'),
            once(socket, 'close').then(() => 'closed'),
        ]).catch(() => 'closed')
        return { socket, outcome }
    }
    const greedy = Array.from({ length: 7 }, () => connect('127.0.0.2'))
    const outcomes = await Promise.all(greedy.map(({ outcome }) => outcome))
    t.is(outcomes.filter((outcome) => outcome === 'open').length, 4)
    t.is((await peer(t, broker, '127.0.0.3')('POST', '/kbs/v0/auth', AUTH)).status, 200)
    greedy[outcomes.indexOf('open')]?.socket.destroy()
    await until(async () => (await connect('127.0.0.2').outcome) === 'open')
})

test('who is not about to prove anything holds no connection', async (t) => {
    const { ask, attest: guest } = await rig(t)
    for (const [path, closes] of [
        ['/healthz', true],
        ['/openapi.json', true],
        ['/metrics', true],
        ['/favicon.ico', true],
        ['/kbs/v0/resource/web/files/key', true],
        ['/kbs/v0/auth', false],
    ] as const) {
        const answer = await ask(
            path === '/kbs/v0/auth' ? 'POST' : 'GET',
            path,
            path === '/kbs/v0/auth' ? AUTH : undefined,
        )
        t.is(answer.headers['connection'], closes ? 'close' : 'keep-alive', path)
    }
    t.is((await (await guest()).get('web/files/none')).headers['connection'], 'keep-alive')
})

for (const path of [
    '/healthz',
    '/openapi.json',
    '/favicon.ico',
    '/kbs/v0/resource/web/files/key',
    '/kbs/v0/resource/x',
])
    test(`requests are counted: ${path}`, async (t) => {
        const { ask } = await rig(t, { settings: { ratePerMinute: 2 } })
        const statuses = []
        for (let i = 0; i < 3; i++) statuses.push((await ask('GET', path)).status)
        t.is(statuses[1], statuses[0])
        t.is(statuses[2], 429)
        t.is((await ask('POST', '/kbs/v0/auth', AUTH)).status, 200, 'a handshake is counted by itself')
    })

/** Genuine, and nobody knows it. */
const STRANGER = { measurement: Buffer.alloc(48, 7) }

test('a stranger on genuine hardware does not lock out the guests that are known', async (t) => {
    const broker = await filled(await rig(t, { settings: { maxSessions: 30 } }))
    for (let i = 0; i < 30; i++) await broker.attest({ ...STRANGER, reportId: Buffer.alloc(32, 1) })
    t.true(broker.serving.broker.sessions.size <= 8)
    const more = await t.throwsAsync(broker.attest({ ...STRANGER, reportId: Buffer.alloc(32, 2) }))
    t.regex(more?.message ?? '', /429.*come back later/)
    const guest = await broker.attest()
    t.is((await guest.get('web/disk/root', 'luks-key')).status, 200)
})

test('the first denials are recorded whole, and of their repeats how many there were', async (t) => {
    const broker = await filled(await rig(t))
    const { serving, log } = broker
    const before = (await records(broker)).length
    const [one, other] = [await broker.attest({ ...STRANGER, reportId: Buffer.alloc(32, 1) }), await broker.attest()]
    for (let i = 0; i < 100; i++) t.is((await one.get(`web/files/none-${i}`)).status, 404)
    t.is((await one.get('web/disk/root', 'luks-key')).status, 403)
    t.is((await other.get('web/files/none')).status, 404)
    const whole = (await records(broker)).slice(before)
    t.is(whole.length, 8 + 1 + 1, 'another code and another guest are told by themselves')
    t.true(whole.every(({ kind }) => kind === 'denial'))
    t.is(log.filter((line) => line.startsWith('warn denied')).length, 10)
    serving.broker.denials.flush()
    const [counted, ...more] = (await records(broker)).slice(before + whole.length)
    t.is(counted?.kind, 'denials')
    t.deepEqual(more, [])
    t.is(counted?.data.denials.length, 1)
    t.like(counted?.data.denials[0], {
        count: 92,
        code: 'ERR_KBS_NOT_FOUND',
        path: 'web/files/none-99',
        guestId: '01'.repeat(32),
        peer: '127.0.0.1',
    })
    await one.get('web/files/none')
    await broker.stop()
    const again = await rig(t, { folder: broker.folder })
    await again.ask('GET', '/healthz')
    t.is((await records(again)).filter(({ kind }) => kind === 'denials').length, 2, 'the end records what was counted')
})

async function until(holds: () => Promise<boolean>): Promise<void> {
    for (let i = 0; i < 200; i++) {
        if (await holds()) return
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error('it did not happen')
}
