// The relay: what goes through it, whom it lets in, how each connection ends, and what it says of that. Real sockets on both
// sides.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { dial } from '#cli/dial.ts'
import { parseCids, parseListen, parseTarget } from '#cli/relay/addresses.ts'
import { type RelayOptions, startRelay } from '#cli/relay/relay.ts'
import type { AttestError } from '#core/errors.ts'
import { openSession, parseOrigin } from '#core/http.ts'
import type { LogFields } from '#core/log.ts'
import { ANY_CID, connectVsock } from '#drivers/linux/vsock.ts'
import { temporaryFolder } from '#test/folder.ts'
import { AUTH, rig } from '../broker/rig.ts'
import { VSOCK_LOOPBACK } from '../machine.ts'
import { needs } from '../needs.ts'
import { relayProcess } from './relay-process.ts'
import { guestAttest } from './run.ts'

const MINUTE = 60_000
const SIZE = 5_000_000

/** What stands for a broker: a TCP server on loopback. */
async function far(t: ExecutionContext, serving: (socket: Socket) => void): Promise<{ to: string; close(): void }> {
    const open = new Set<Socket>()
    const server = createServer({ allowHalfOpen: true }, (socket) => {
        open.add(socket)
        socket.on('error', () => undefined)
        serving(socket)
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => {
        for (const socket of open) socket.destroy()
        server.close()
    })
    return { to: `127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => void server.close() }
}

interface Line extends LogFields {
    readonly message: string
}

/** A relay from a unix socket, its lines, and connections to it. */
async function relay(t: ExecutionContext, to: string, changed: Partial<RelayOptions> = {}) {
    const path = join(temporaryFolder(t), 's')
    const lines: Line[] = []
    const say = (message: string, fields: LogFields = {}) => void lines.push({ message, ...fields })
    const { stop, from } = await startRelay({
        near: { listen: { kind: 'unix', path } },
        far: { to: parseTarget(to) },
        allowedCids: null,
        maxConnections: 1000,
        maxPerGuest: 1000,
        connectTimeoutMs: MINUTE,
        idleTimeoutMs: MINUTE,
        log: { debug: say, info: say, warn: say, error: say },
        ...changed,
    })
    t.teardown(() => stop(0))
    const line = async (count = 1) => {
        for (let tries = 0; tries < 6000 && lines.length < count; tries++) await sleep(10)
        return lines[count - 1]
    }
    const call = () => {
        const socket = connect({ path, allowHalfOpen: true })
        socket.on('error', () => undefined)
        t.teardown(() => socket.destroy())
        return socket
    }
    return { path, lines, line, call, stop, from }
}

/** All that comes, until its end or until it is broken off. */
async function gather(socket: Socket): Promise<Buffer> {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    await new Promise<void>((resolve) => socket.on('end', resolve).on('close', () => resolve()))
    return Buffer.concat(chunks)
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

test('5 MB each way at once, whole; one line says how much', async (t) => {
    const [there, back] = [randomBytes(SIZE), randomBytes(SIZE)]
    const heard = Promise.withResolvers<string>()
    const { to } = await far(t, (socket) => {
        void gather(socket).then((bytes) => heard.resolve(digest(bytes)))
        socket.end(back)
    })
    const { call, line, lines } = await relay(t, to)
    const socket = call()
    socket.end(there)
    t.is(digest(await gather(socket)), digest(back))
    t.is(await heard.promise, digest(there))
    t.like(await line(), { message: 'connection', from: 'unix', to, sent: SIZE, received: SIZE, end: 'closed' })
    t.is(lines.length, 1)
})

test('a side that has ended hears the other one out', async (t) => {
    const { to } = await far(t, (socket) => void gather(socket).then((all) => socket.end(`heard ${all}`)))
    const { call } = await relay(t, to)
    const socket = call()
    socket.end('a question')
    t.is(String(await gather(socket)), 'heard a question')
})

test('200 connections at once', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const { call, line, lines } = await relay(t, to)
    const answers = await Promise.all(
        Array.from({ length: 200 }, async (_, index) => {
            const socket = call()
            socket.end(`number ${index}`)
            return String(await gather(socket))
        }),
    )
    t.deepEqual(
        answers,
        answers.map((_, index) => `number ${index}`),
    )
    await line(200)
    t.true(lines.every(({ end }) => end === 'closed'))
    t.is(new Set(lines.map(({ connection }) => connection)).size, 200)
})

test('a broker that is not there', async (t) => {
    const { to, close } = await far(t, () => undefined)
    close()
    const { call, line } = await relay(t, to)
    t.is((await gather(call())).length, 0)
    t.like(await line(), { end: `broker: connect ECONNREFUSED ${to}`, sent: 0, received: 0 })
})

test('a broker that takes no more: nobody waits for ever', async (t) => {
    const { to } = await far(t, (socket) => socket.pause())
    const { call, line } = await relay(t, to, { idleTimeoutMs: 300 })
    const socket = call()
    const chunk = Buffer.alloc(65_536)
    const write = (): void => void socket.write(chunk, (error) => error || setImmediate(write))
    write()
    t.is((await gather(socket)).length, 0)
    t.like(await line(), { end: 'idle for 0.3 s', received: 0 })
})

test('a broker that breaks off in the middle', async (t) => {
    const { to } = await far(t, (socket) => {
        socket.write('half')
        socket.once('data', () => socket.resetAndDestroy())
    })
    const { call, line } = await relay(t, to)
    const socket = call()
    socket.write('x')
    const heard = String(await gather(socket))
    t.true(['half', ''].includes(heard))
    t.regex(String((await line())?.['end']), /^broker: ECONNRESET$/)
})

test('a guest that goes in the middle: its broker hears of it', async (t) => {
    const gone = Promise.withResolvers<void>()
    const { to } = await far(t, (socket) => {
        socket.on('data', () => undefined)
        socket.on('close', () => gone.resolve())
        const write = (): void => void socket.write(Buffer.alloc(65_536), (error) => error || setImmediate(write))
        write()
    })
    const { call, line } = await relay(t, to)
    const socket = call()
    await once(socket, 'data')
    socket.destroy()
    await gone.promise
    t.regex(String((await line())?.['end']), /^(?:closed|guest: E(?:PIPE|CONNRESET)|guest broke off)$/)
})

test('more than are allowed are turned away, and told of once', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const { call, lines } = await relay(t, to, { maxConnections: 2 })
    const open = [call(), call()]
    for (const socket of open) {
        socket.write('here')
        await once(socket, 'data')
    }
    for (let i = 0; i < 5; i++) t.is((await gather(call())).length, 0)
    t.deepEqual(lines, [{ message: 'connection turned away', from: 'unix', why: '2 connections are open' }])
    for (const socket of open) socket.end()
    await Promise.all(open.map((socket) => once(socket, 'close')))
    const next = call()
    next.end('next')
    t.is(String(await gather(next)), 'next')
})

test('guests that vsock does not name are not among those that may call', async (t) => {
    const { to } = await far(t, () => undefined)
    const { call, line } = await relay(t, to, { allowedCids: [3] })
    t.is((await gather(call())).length, 0)
    t.like(await line(), { message: 'connection turned away', why: 'this guest may not call' })
})

test('stopping: nobody new, and those that there are may end', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const { call, stop, path, line } = await relay(t, to)
    const socket = call()
    socket.write('here')
    await once(socket, 'data')
    let stopped = false
    const stopping = stop(MINUTE).then(() => {
        stopped = true
    })
    await sleep(100)
    t.false(stopped)
    t.false(existsSync(path))
    socket.end('and on')
    t.is(String(await gather(socket)), 'and on')
    await stopping
    t.like(await line(), { end: 'closed' })
})

test('stopping: whoever does not end is broken off', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const { call, stop, line } = await relay(t, to)
    const socket = call()
    socket.write('here')
    await once(socket, 'data')
    await stop(100)
    t.regex(String((await line())?.['end']), /broke off/)
})

needs(VSOCK_LOOPBACK)('vsock: a guest is known by its CID, and has its part of the connections', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const port = 30_000 + (process.pid % 10_000)
    const near = { listen: { kind: 'vsock', cid: ANY_CID, port } } as const
    const { lines } = await relay(t, to, { near, maxPerGuest: 1, allowedCids: [1] })
    const socket = await connectVsock({ cid: 1, port }, AbortSignal.timeout(MINUTE))
    socket.write('here')
    await once(socket, 'data')
    const second = await connectVsock({ cid: 1, port }, AbortSignal.timeout(MINUTE)).catch(() => null)
    second?.on('error', () => undefined).resume()
    for (let tries = 0; tries < 6000 && lines.length === 0; tries++) await sleep(10)
    t.like(lines[0], { message: 'connection turned away', why: 'this guest has 1 connections open' })
    socket.destroy()
})

const port = 40_000 + (process.pid % 10_000)
for (const { name, missing, listen, url } of [
    {
        name: 'a unix socket',
        missing: [],
        listen: (folder: string) => ({ kind: 'unix', path: join(folder, 'kbs') }) as const,
        url: (folder: string) => `unix://${folder}/kbs`,
    },
    {
        name: 'vsock',
        missing: [VSOCK_LOOPBACK],
        listen: () => ({ kind: 'vsock', cid: 1, port }) as const,
        url: () => `vsock://1:${port}`,
    },
])
    needs(...missing)(
        `a real broker over ${name}: TLS from end to end, one connection for many requests`,
        async (t) => {
            const broker = await rig(t)
            const folder = temporaryFolder(t)
            const { lines } = await relay(t, new URL(broker.serving.url).host, { near: { listen: listen(folder) } })
            const origin = parseOrigin(url(folder))
            const pin = broker.serving.pin ?? ''
            const session = openSession(origin, { trust: { pins: [pin] }, dial })
            const ask = (asked = session) =>
                asked.request({
                    method: 'POST',
                    path: '/kbs/v0/auth',
                    headers: { 'content-type': 'application/json' },
                    body: JSON.stringify(AUTH),
                    signal: AbortSignal.timeout(MINUTE),
                })
            for (let i = 0; i < 5; i++) t.is((await ask()).status, 200)
            session.close()
            const other = openSession(origin, { trust: { pins: [`sha256/${'A'.repeat(43)}=`] }, dial })
            await t.throwsAsync(ask(other), { code: 'ERR_HTTP_TLS', message: /is not the server that is trusted/ })
            other.close()
            for (let tries = 0; tries < 6000 && lines.length < 2; tries++) await sleep(10)
            t.is(lines.length, 2)
        },
    )

test('dialling where nobody is', async (t) => {
    const session = openSession(parseOrigin(`unix://${temporaryFolder(t)}/kbs`), { trust: { pins: [] }, dial })
    const asking = session.request({ method: 'GET', path: '/', signal: AbortSignal.timeout(MINUTE) })
    const error = await t.throwsAsync(asking, { code: 'ERR_HTTP_CONNECT', message: /^unix:\/\/.*ENOENT/ })
    t.regex((error as AttestError).hint ?? '', /guest-attest relay/)
    session.close()
})

test('dialling somebody who says nothing ends in time, and hangs up', async (t) => {
    const hungUp = Promise.withResolvers<void>()
    const { to } = await far(t, (socket) =>
        socket
            .resume()
            .on('close', () => hungUp.resolve())
            .on('end', () => socket.end()),
    )
    const { path } = await relay(t, to)
    const trust = { pins: [] }
    const session = openSession(parseOrigin(`unix://${path}`), { trust, dial, connectTimeoutMs: 300 })
    const asking = session.request({ method: 'GET', path: '/', signal: AbortSignal.timeout(MINUTE) })
    await t.throwsAsync(asking, { code: 'ERR_HTTP_TIMEOUT' })
    await hungUp.promise
    session.close()
})

for (const { text, want } of [
    { text: 'vsock:8443', want: { kind: 'vsock', cid: ANY_CID, port: 8443 } },
    { text: 'vsock:2:8443', want: { kind: 'vsock', cid: 2, port: 8443 } },
    { text: 'unix:/run/a.sock', want: { kind: 'unix', path: '/run/a.sock' } },
    { text: 'unix:/run/../a b', want: { kind: 'unix', path: '/a b' } },
    { text: 'tcp:127.0.0.1:0', want: { kind: 'tcp', host: '127.0.0.1', port: 0 } },
    { text: 'tcp:[::1]:8443', want: { kind: 'tcp', host: '::1', port: 8443 } },
] as const)
    test(`--listen ${text}`, (t) => {
        t.deepEqual(parseListen(text), want)
    })

for (const text of [
    '',
    'vsock:',
    'vsock:0',
    'vsock:x',
    'vsock:2:8443:1',
    'vsock:4294967295',
    'vsock:08443',
    'unix:',
    'tcp:8443',
    'tcp:kbs.example:8443',
    'tcp:127.0.0.1:65536',
    'tcp:[127.0.0.1]:1',
    '127.0.0.1:8443',
])
    test(`--listen refused: ${JSON.stringify(text)}`, (t) => {
        t.throws(() => parseListen(text), { code: 'ERR_USAGE', message: /^--listen: expected vsock:PORT/ })
    })

for (const text of ['', 'kbs.example', 'kbs.example:0', 'https://kbs.example:8443', 'vsock:2:8443', ':8443', 'a b:1'])
    test(`--to refused: ${JSON.stringify(text)}`, (t) => {
        t.throws(() => parseTarget(text), { code: 'ERR_USAGE', message: /^--to: expected HOST:PORT or unix:PATH/ })
    })

test('--to: a name, an address, a path that is too long', (t) => {
    t.deepEqual(parseTarget('kbs.example:8443'), { kind: 'tcp', host: 'kbs.example', port: 8443 })
    t.deepEqual(parseTarget('[::1]:8443'), { kind: 'tcp', host: '::1', port: 8443 })
    t.throws(() => parseTarget(`unix:/${'x'.repeat(107)}`), { code: 'ERR_USAGE', message: /at most 107 bytes/ })
    t.deepEqual(parseCids(['3', '4294967294']), [3, 4_294_967_294])
    for (const text of ['0', '-1', '4294967295', 'x']) t.throws(() => parseCids([text]), { code: 'ERR_USAGE' })
})

test('the program: a socket that a relay left behind is taken over, SIGTERM ends it', async (t) => {
    const { to } = await far(t, (socket) => void socket.pipe(socket))
    const path = join(temporaryFolder(t), 's')
    const first = await relayProcess(t, '--listen', `unix:${path}`, '--to', to)
    t.is(first.address, `unix:${path}`)
    await first.end('SIGKILL')
    t.true(existsSync(path))
    const second = await relayProcess(t, '--listen', `unix:${path}`, '--to', to)
    const socket = connect({ path, allowHalfOpen: true })
    socket.end('through')
    t.is(String(await gather(socket)), 'through')
    const [line] = await second.connections(1)
    t.like(line, { level: 'info', msg: 'connection', connection: 1, from: 'unix', to, sent: 7, received: 7 })
    t.false(second.log.join().includes('through'))
    t.is(await second.end(), 0)
    t.false(existsSync(path))
})

test('the program: what it says of a command line that is wrong, or an address that is taken', async (t) => {
    const path = join(temporaryFolder(t), 's')
    writeFileSync(path, 'mine')
    const say = async (code: number, says: RegExp, ...args: readonly string[]) => {
        const ran = await guestAttest(['relay', ...args])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
    }
    const to = ['--to', '127.0.0.1:1']
    await Promise.all([
        say(3, /EADDRINUSE[\s\S]*ERR_LISTEN[\s\S]*another program/, '--listen', `unix:${path}`, ...to),
        say(3, /EADDRNOTAVAIL[\s\S]*not this machine/, '--listen', 'tcp:192.0.2.1:1', ...to),
        say(2, /only vsock says which guest calls/, '--listen', `unix:${path}`, ...to, '--allow-cid', '3'),
        say(3, /g: there is no folder \S+nodir/, '--listen', `unix:${path}.nodir/g`, ...to),
        say(2, /--idle-timeout: expected 1 to 86400/, '--listen', `unix:${path}2`, ...to, '--idle-timeout', '0'),
        say(2, /--max-connections: expected at least 1/, '--listen', `unix:${path}2`, ...to, '--max-connections', '0'),
        say(2, /the host and the port alone/, '--listen', 'vsock:1', '--to', 'https://kbs.example:8443'),
    ])
})
