// Sockets as streams, over the C library and Node's event loop: the same on unix sockets, and on vsock where this machine
// can call itself.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { AF_UNIX } from '#drivers/linux/libc.ts'
import { AF_VSOCK, type SocketCalls, sockets } from '#drivers/linux/socket-calls.ts'
import { connectStream, listenStream, StreamSocket } from '#drivers/linux/stream-socket.ts'
import { connectVsock, formatVsock, listenVsock, sockaddr } from '#drivers/linux/vsock.ts'
import { temporaryFolder } from '#test/folder.ts'
import { type Need, VSOCK_LOOPBACK } from '#test/machine.ts'
import { needs } from '#test/needs.ts'

const LOCAL_CID = 1
const SIZE = 5_000_000
const { EMFILE } = constants.errno
const patience = (): AbortSignal => AbortSignal.timeout(60_000)

interface Family {
    readonly name: string
    readonly family: number
    readonly needs: readonly Need[]
    readonly address: (t: ExecutionContext) => Buffer
    /** What connecting says where nobody listens. */
    readonly nobody: string
}

let ports = 20_000 + (process.pid % 10_000)
const FAMILIES: readonly Family[] = [
    {
        name: 'unix',
        family: AF_UNIX,
        needs: [],
        address(t) {
            const path = join(temporaryFolder(t), 's')
            return Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(path.padEnd(108, '\0'))])
        },
        nobody: 'ECONNREFUSED',
    },
    {
        name: 'vsock',
        family: AF_VSOCK,
        needs: [VSOCK_LOOPBACK],
        address: () => sockaddr({ cid: LOCAL_CID, port: ports++ }),
        nobody: 'ECONNRESET',
    },
]

/** Listens until the test ends; each connection is a stream that stays half open. */
function serve(
    t: ExecutionContext,
    { family, address }: Family,
    serving: (socket: StreamSocket) => void,
    calls: SocketCalls = sockets(),
) {
    const at = address(t)
    const failures: Error[] = []
    const listening = listenStream(calls, family, at, {
        where: 'here',
        accepted(fd) {
            const socket = new StreamSocket(calls, fd, { peer: 'guest', allowHalfOpen: true })
            t.teardown(() => socket.destroy())
            socket.on('error', (error) => failures.push(error))
            serving(socket)
        },
        failed: (error) => failures.push(error),
    })
    t.teardown(() => listening.close())
    const call = async (signal = patience()) => {
        const socket = await connectStream(calls, family, at, { peer: 'host', allowHalfOpen: true }, signal)
        t.teardown(() => socket.destroy())
        return socket
    }
    return { ...listening, call, failures }
}

/** All that comes. (`buffer` of node:stream/consumers destroys a stream that still has to send.) */
async function gather(stream: Readable): Promise<Buffer> {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    await once(stream, 'end')
    return Buffer.concat(chunks)
}

const byNumber = (a: number, b: number): number => a - b

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** The same calls, with the descriptors that they opened and closed, and how often bytes were to be moved. */
function counted(calls: SocketCalls) {
    const opened: number[] = []
    const closed: number[] = []
    const note = (fd: number): number => {
        if (fd >= 0) opened.push(fd)
        return fd
    }
    const moved = { calls: 0 }
    return {
        ...calls,
        moved,
        send(fd: number, bytes: Uint8Array) {
            moved.calls++
            return calls.send(fd, bytes)
        },
        receive(fd: number, into: Buffer) {
            moved.calls++
            return calls.receive(fd, into)
        },
        socket: (family: number) => note(calls.socket(family)),
        accept: (fd: number, address: Buffer) => note(calls.accept(fd, address)),
        close(fd: number) {
            closed.push(fd)
            return calls.close(fd)
        },
        opened,
        closed,
    }
}

for (const family of FAMILIES) {
    const possible = needs(...family.needs)
    const { name } = family

    possible(`${name}: 5 MB each way at once, whole, and an end on both sides`, async (t) => {
        const [there, back] = [randomBytes(SIZE), randomBytes(SIZE)]
        const heard = Promise.withResolvers<string>()
        const { call, failures } = serve(t, family, (socket) => {
            socket.end(back)
            void gather(socket).then((bytes) => heard.resolve(digest(bytes)))
        })
        const socket = await call()
        const closed = once(socket, 'close')
        socket.end(there)
        t.is(digest(await gather(socket)), digest(back))
        t.is(await heard.promise, digest(there))
        await closed
        t.deepEqual(failures, [])
    })

    possible(`${name}: what has ended one way goes on the other`, async (t) => {
        const { call } = serve(t, family, (socket) => {
            void gather(socket).then((all) => socket.end(`heard ${all}`))
        })
        const socket = await call()
        socket.end('a question')
        t.is(String(await gather(socket)), 'heard a question')
    })

    possible(`${name}: whoever does not read is not sent more than fits`, async (t) => {
        let other: StreamSocket | undefined
        const calls = counted(sockets())
        const { call } = serve(
            t,
            family,
            (socket) => {
                other = socket
            },
            calls,
        )
        const socket = await call()
        const chunk = Buffer.alloc(100_000, 1)
        let sent = 0
        while (socket.write(chunk)) sent++
        t.true(sent < 500, 'writing came to an end')
        await sleep(300)
        const stuck = calls.moved.calls
        await sleep(300)
        t.is(calls.moved.calls, stuck, 'nobody asks again and again')
        socket.end()
        t.is((await gather(other as StreamSocket)).length, (sent + 1) * chunk.length)
    })

    possible(`${name}: a peer that is destroyed in the middle ends it, and nothing hangs`, async (t) => {
        const { call } = serve(t, family, (socket) => {
            socket.once('data', () => socket.destroy())
        })
        const socket = await call()
        const failed = once(socket, 'error')
        const chunk = Buffer.alloc(65_536)
        const write = (): void => void socket.write(chunk, (error) => error || setImmediate(write))
        write()
        const [error] = (await failed) as [NodeJS.ErrnoException]
        t.true(['EPIPE', 'ECONNRESET'].includes(error.code ?? ''), error.message)
        t.regex(error.message, /^(?:send|recv|poll|shutdown) E\w+ host: /)
    })

    possible(`${name}: 200 connections at once, and each descriptor is closed`, async (t) => {
        const calls = counted(sockets())
        const { call, close, failures } = serve(t, family, (socket) => void socket.pipe(socket), calls)
        const echo = async (index: number) => {
            const socket = await call()
            const closed = once(socket, 'close')
            socket.end(`number ${index}`)
            const answer = String(await gather(socket))
            await closed
            return answer
        }
        const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => echo(index)))
        t.deepEqual(
            answers,
            answers.map((_, index) => `number ${index}`),
        )
        close()
        close() // once is enough
        t.is(calls.opened.length, 401)
        for (let tries = 0; tries < 3000 && calls.closed.length < 401; tries++) await sleep(20)
        t.deepEqual(calls.closed.toSorted(byNumber), calls.opened.toSorted(byNumber))
        t.deepEqual(failures, [])
    })

    possible(`${name}: a listener that is gone`, async (t) => {
        const { call, close } = serve(t, family, () => undefined)
        close()
        const error = (await t.throwsAsync(call())) as NodeJS.ErrnoException
        t.is(error.code, family.nobody)
        t.is(error.syscall, 'connect')
    })

    possible(`${name}: a caller that has given up before`, async (t) => {
        const { call } = serve(t, family, () => undefined)
        await t.throwsAsync(call(AbortSignal.abort(new Error('enough'))), { message: 'enough' })
    })

    possible(`${name}: a process without descriptors goes on listening, after a pause`, async (t) => {
        const calls = counted(sockets())
        let full = 3
        const accept = (fd: number, address: Buffer) => (full-- > 0 ? -EMFILE : calls.accept(fd, address))
        const { call, failures } = serve(t, family, (socket) => void socket.pipe(socket), { ...calls, accept })
        const began = performance.now()
        const socket = await call()
        socket.end('after all')
        t.is(String(await gather(socket)), 'after all')
        t.deepEqual(
            failures.map((error) => (error as NodeJS.ErrnoException).code),
            ['EMFILE', 'EMFILE', 'EMFILE'],
        )
        t.true(performance.now() - began > 250)
    })

    possible(`${name}: an address that is taken`, (t) => {
        const address = family.address(t)
        const listen = () =>
            listenStream(sockets(), family.family, address, {
                where: 'here',
                accepted: () => undefined,
                failed: () => undefined,
            })
        const { close } = listen()
        t.throws(listen, { code: 'EADDRINUSE', message: /^bind EADDRINUSE here: / })
        close()
    })
}

test.serial('a connection that hangs ends with its signal', async (t) => {
    // A listener that accepts nothing answers no more once its queue is full.
    const calls = sockets()
    const AF_INET = 2
    const fd = calls.socket(AF_INET)
    const address = Buffer.from([AF_INET, 0, 0, 0, 127, 0, 0, 1, ...Buffer.alloc(8)])
    t.is(calls.bind(fd, address), 0)
    t.is(calls.listen(fd, 0), 0)
    const bound = Buffer.alloc(16)
    calls.localAddress(fd, bound)
    const listening = new StreamSocket(calls, fd, { peer: 'nobody' })
    t.teardown(() => listening.destroy())
    const fill = Array.from({ length: 3 }, () => createConnection(bound.readUInt16BE(2), '127.0.0.1'))
    t.teardown(() => {
        for (const socket of fill) socket.destroy()
    })
    await sleep(100)
    const signal = AbortSignal.timeout(300)
    await t.throwsAsync(connectStream(calls, AF_INET, bound, { peer: 'nobody' }, signal), { name: 'TimeoutError' })
})

needs(VSOCK_LOOPBACK)('vsock: who calls, and where one is bound', async (t) => {
    const met = Promise.withResolvers<{ cid: number; port: number }>()
    const listener = listenVsock(
        { cid: LOCAL_CID, port: ports++ },
        {
            accepted(socket, peer) {
                met.resolve(peer)
                socket.destroy()
            },
            failed: met.reject,
        },
    )
    t.teardown(() => listener.close())
    const [, cid, port] = listener.address.split(':').map(Number)
    t.is(cid, LOCAL_CID)
    const socket = await connectVsock({ cid: LOCAL_CID, port: port ?? 0 }, patience())
    t.teardown(() => socket.destroy())
    t.is((await met.promise).cid, LOCAL_CID)
    t.is(socket.peer, formatVsock({ cid: LOCAL_CID, port: port ?? 0 }))
})
