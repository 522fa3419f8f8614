// TLS and HTTP within a socket that the C library opened, as over vsock: a unix socket here, with a TLS server at its other
// end that behaves, or does not.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createServer as createPlain } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import test, { type ExecutionContext } from 'ava'
import { type Dial, openSession, parseOrigin, type SessionOptions } from '#core/http.ts'
import { AF_UNIX } from '#drivers/linux/libc.ts'
import { sockets } from '#drivers/linux/socket-calls.ts'
import { connectStream, type StreamSocket } from '#drivers/linux/stream-socket.ts'
import { temporaryFolder } from '#test/folder.ts'
import { answering, KEYS, leaf, ok, PIN, patience, pem } from '../../core/peer.ts'

const SIZE = 5_000_000
const identity = { cert: await leaf(), key: pem(KEYS) }

/** A session within a socket of the C library's, to whatever `server` does with a connection. */
async function session(
    t: ExecutionContext,
    server: ReturnType<typeof createPlain>,
    options: Partial<SessionOptions> = {},
) {
    const path = join(temporaryFolder(t), 's')
    const open = new Set<Socket>()
    server.on('connection', (socket) => {
        open.add(socket)
        socket.on('error', () => undefined)
    })
    await once(server.listen(path), 'listening')
    t.teardown(() => {
        for (const socket of open) socket.destroy()
        server.close()
    })
    const dialled: StreamSocket[] = []
    const dial: Dial = async (_, signal) => {
        const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(path.padEnd(108, '\0'))])
        const socket = await connectStream(sockets(), AF_UNIX, address, { peer: 'host' }, signal)
        dialled.push(socket)
        return socket
    }
    const http = openSession(parseOrigin('vsock://2:8443'), { trust: { pins: [PIN] }, dial, ...options })
    t.teardown(() => http.close())
    return { http, dialled }
}

const tls = (serve: (socket: Socket) => void) => {
    const server = createServer(identity, (socket) => {
        socket.on('error', () => undefined)
        serve(socket)
    })
    return server.on('tlsClientError', () => undefined)
}

const ask = (http: Awaited<ReturnType<typeof session>>['http'], body = '') =>
    http.request({ method: 'POST', path: '/', body, maxBytes: SIZE, signal: patience() })

test('requests one after the other share it, and the end of the session closes it', async (t) => {
    const { http, dialled } = await session(t, tls(answering((socket) => socket.write(ok('here')))))
    for (let i = 0; i < 20; i++) t.is(String((await ask(http)).body), 'here')
    const [socket] = dialled
    t.is(dialled.length, 1)
    t.false(socket?.destroyed)
    const closed = once(socket as StreamSocket, 'close')
    http.close()
    await closed
})

test('5 MB there and 5 MB back', async (t) => {
    const server = tls((socket) => {
        let got = 0
        socket.on('data', (chunk: Buffer) => {
            got += chunk.length
            if (got > SIZE) socket.end(ok('y'.repeat(SIZE)))
        })
    })
    const { http } = await session(t, server)
    const { body } = await ask(http, 'x'.repeat(SIZE))
    t.is(body.length, SIZE)
    t.true(body.equals(Buffer.alloc(SIZE, 'y')))
})

test('another key: nothing is asked', async (t) => {
    let asked = 0
    const server = tls((socket) => socket.on('data', () => asked++))
    const { http, dialled } = await session(t, server, { trust: { pins: [`sha256/${'A'.repeat(43)}=`] } })
    await t.throwsAsync(ask(http), { code: 'ERR_HTTP_TLS', message: /vsock:\/\/2:8443 is not the server/ })
    t.is(asked, 0)
    t.true(dialled.every(({ destroyed }) => destroyed))
})

for (const { name, serve } of [
    { name: 'is closed', serve: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf') },
    {
        name: 'breaks off',
        serve: (socket: Socket) =>
            socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf', () => socket.destroy()),
    },
])
    test(`an answer that ${name} in the middle`, async (t) => {
        const { http, dialled } = await session(t, tls(answering(serve)))
        await t.throwsAsync(ask(http), { code: 'ERR_HTTP_CONNECT' })
        http.close()
        for (const socket of dialled) if (!socket.closed) await once(socket, 'close')
        t.pass()
    })

test('a server that says nothing at all', async (t) => {
    const { http, dialled } = await session(t, createPlain(), { connectTimeoutMs: 300 })
    await t.throwsAsync(ask(http), { code: 'ERR_HTTP_TIMEOUT' })
    t.true(dialled.every(({ destroyed }) => destroyed))
})

test('a server that hangs up at once, and one that speaks no TLS', async (t) => {
    const silent = await session(
        t,
        createPlain((socket) => socket.destroy()),
    )
    await t.throwsAsync(ask(silent.http), { code: 'ERR_HTTP_CONNECT' })
    const plain = await session(
        t,
        createPlain((socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n')),
    )
    await t.throwsAsync(ask(plain.http), { code: 'ERR_HTTP_TLS' })
})
