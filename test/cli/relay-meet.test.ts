// Two relays that meet: a broker that nobody can connect to, whose relay calls the one beside the guests. Real sockets.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { dial } from '#cli/dial.ts'
import type { Far, Near } from '#cli/relay/addresses.ts'
import { parseTarget } from '#cli/relay/addresses.ts'
import { startRelay } from '#cli/relay/relay.ts'
import { openSession, parseOrigin } from '#core/http.ts'
import type { LogFields } from '#core/log.ts'
import { temporaryFolder } from '#test/folder.ts'
import { AUTH, rig } from '../broker/rig.ts'
import { relayProcess } from './relay-process.ts'
import { guestAttest } from './run.ts'

const MINUTE = 60_000

const unix = (path: string) => ({ kind: 'unix', path }) as const

interface Started {
    readonly lines: (LogFields & { message: string })[]
    stop(graceMs?: number): Promise<void>
}

async function start(t: ExecutionContext, near: Near, far: Far, connectTimeoutMs = MINUTE): Promise<Started> {
    const lines: Started['lines'] = []
    const say = (message: string, fields: LogFields = {}) => void lines.push({ message, ...fields })
    const log = { debug: say, info: say, warn: say, error: say }
    const limits = { allowedCids: null, maxConnections: 100, maxPerGuest: 100, connectTimeoutMs, idleTimeoutMs: MINUTE }
    const relay = await startRelay({ near, far, ...limits, log })
    const stop = (graceMs = 0) => relay.stop(graceMs)
    t.teardown(() => stop())
    return { lines, stop }
}

/** Both relays, in the order of this test, before something that answers. */
async function meeting(t: ExecutionContext, serving: (socket: Socket) => void) {
    const folder = temporaryFolder(t)
    const [guests, door, broker] = ['g', 'd', 'b'].map((name) => join(folder, name)) as [string, string, string]
    const server = createServer({ allowHalfOpen: true }, serving)
    await once(server.listen(broker), 'listening')
    t.teardown(() => server.close())
    return {
        door,
        host: (timeoutMs?: number) => start(t, { listen: unix(guests) }, { await: unix(door) }, timeoutMs),
        owner: () => start(t, { call: unix(door) }, { to: unix(broker) }),
        call() {
            const socket = connect({ path: guests, allowHalfOpen: true })
            socket.on('error', () => undefined)
            t.teardown(() => socket.destroy())
            return socket
        },
    }
}

async function gather(socket: Socket): Promise<string> {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    await new Promise<void>((resolve) => socket.on('end', resolve).on('close', () => resolve()))
    return String(Buffer.concat(chunks))
}

const echo = (socket: Socket): void => void socket.on('error', () => undefined).pipe(socket)

for (const first of ['host', 'owner'] as const)
    test(`50 guests, the ${first}’s relay is there first`, async (t) => {
        const { host, owner, call } = await meeting(t, echo)
        for (const one of first === 'host' ? [host, owner] : [owner, host]) await one()
        const heard = await Promise.all(
            Array.from({ length: 50 }, (_, index) => {
                const socket = call()
                socket.end(`number ${index}`)
                return gather(socket)
            }),
        )
        t.deepEqual(
            heard,
            heard.map((_, index) => `number ${index}`),
        )
    })

test('a guest that comes before the broker’s relay waits for it, and no longer than it should', async (t) => {
    const { host, owner, call } = await meeting(t, echo)
    const { lines } = await host(1000)
    const early = call()
    early.end('too early')
    t.is(await gather(early), '')
    t.regex(String(lines[0]?.['end']), /^broker: waiting for the other relay: gave up after 1 s$/)
    const patient = call()
    patient.end('in time')
    await owner()
    t.is(await gather(patient), 'in time')
})

test('a relay that went and came back: what it left is not handed out, both say so once', async (t) => {
    const { host, owner, call } = await meeting(t, echo)
    const beside = await host()
    const first = await owner()
    const one = call()
    one.end('one')
    t.is(await gather(one), 'one')
    await first.stop()
    const two = call()
    const heard = gather(two)
    two.end('two')
    await sleep(50)
    const second = await owner()
    t.is(await heard, 'two')
    await beside.stop()
    for (let tries = 0; tries < 1000 && second.lines.length < 2; tries++) await sleep(10)
    t.like(second.lines.at(-1), { message: 'cannot leave connections with the other relay: it is tried again' })
    t.is(second.lines.filter(({ message }) => message.startsWith('cannot')).length, 1)
})

test('a guest that waits when the relay is stopped waits no longer', async (t) => {
    const { host, call } = await meeting(t, echo)
    const { lines, stop } = await host()
    const waiting = call()
    await once(waiting, 'connect')
    await sleep(100)
    const heard = gather(waiting)
    await stop()
    t.is(await heard, '')
    t.like(lines[0], { message: 'connection', end: 'guest broke off', sent: 0 })
})

test('whoever speaks first at the door is no relay', async (t) => {
    const { host, owner, call, door } = await meeting(t, echo)
    await host()
    const stranger = connect(door)
    stranger.write('HTTP/1.1 200 OK\r\n')
    t.is(await gather(stranger), '')
    await owner()
    const socket = call()
    socket.end('a question')
    t.is(await gather(socket), 'a question')
})

test('TLS from end to end: a stranger at the door is not believed, the broker is', async (t) => {
    const broker = await rig(t)
    const folder = temporaryFolder(t)
    const [guests, door] = [join(folder, 'g'), join(folder, 'd')]
    await start(t, { listen: unix(guests) }, { await: unix(door) })
    const pins = [broker.serving.pin ?? '']
    const ask = async () => {
        const session = openSession(parseOrigin(`unix://${guests}`), { trust: { pins }, dial })
        try {
            return await session.request({
                method: 'POST',
                path: '/kbs/v0/auth',
                headers: { 'content-type': 'application/json' },
                body: JSON.stringify(AUTH),
                signal: AbortSignal.timeout(MINUTE),
            })
        } finally {
            session.close()
        }
    }
    const other = await rig(t)
    const wrong = await start(t, { call: unix(door) }, { to: parseTarget(new URL(other.serving.url).host) })
    await t.throwsAsync(ask, { code: 'ERR_HTTP_TLS', message: /is not the server that is trusted/ })
    await wrong.stop()
    await start(t, { call: unix(door) }, { to: parseTarget(new URL(broker.serving.url).host) })
    t.is((await ask()).status, 200)
})

test('as programs', async (t) => {
    const folder = temporaryFolder(t)
    const broker = join(folder, 'b')
    const server = createServer({ allowHalfOpen: true }, echo)
    await once(server.listen(broker), 'listening')
    t.teardown(() => server.close())
    const [guests, door] = [`unix:${folder}/g`, `unix:${folder}/d`]
    const host = await relayProcess(t, '--listen', guests, '--await', door)
    const owner = await relayProcess(t, '--call', door, '--to', `unix:${broker}`)
    const socket = connect({ path: join(folder, 'g'), allowHalfOpen: true })
    socket.end('through both')
    t.is(await gather(socket), 'through both')
    t.like((await owner.connections(1))[0], { from: `relay ${door}`, sent: 12, received: 12, end: 'closed' })
    t.is(await owner.end(), 0)
    t.is(await host.end(), 0)
})

for (const { args, says } of [
    { args: ['--to', 'a:1'], says: /expected one of --listen .* and --call/ },
    { args: ['--listen', 'vsock:1', '--call', 'a:1', '--to', 'b:1'], says: /expected one of --listen .* and --call/ },
    { args: ['--listen', 'vsock:1'], says: /expected one of --to .* and --await/ },
    { args: ['--listen', 'vsock:1', '--await', 'a:1'], says: /--await: expected vsock:PORT/ },
    { args: ['--call', 'a', '--to', 'a:1'], says: /--call: expected HOST:PORT or unix:PATH/ },
    { args: ['--call', 'a:1', '--to', 'a:1', '--allow-cid', '3'], says: /only vsock says which guest calls/ },
])
    test(`refused: relay ${args.join(' ')}`, async (t) => {
        const { code, stderr } = await guestAttest(['relay', ...args])
        t.is(code, 2)
        t.regex(stderr, says)
    })
