// Answers of a server that is the right one and misbehaves: each ends, within its bounds, with what was wrong.
// SPDX-License-Identifier: Apache-2.0

import { createServer, type Socket } from 'node:net'
import test from 'ava'
import { type AttestError, coreError } from '#core/errors.ts'
import { answering, get, listen, ok, patience, sessionWith, tlsPeer } from './peer.ts'

const HEAD = 'HTTP/1.1 200 OK\r\n'
const CHUNKED = `${HEAD}transfer-encoding: chunked\r\n\r\n`

for (const { name, text, status = 200, body = 'yes' } of [
    { name: 'one with its length', text: ok('yes') },
    { name: 'one in chunks', text: `${CHUNKED}1\r\ny\r\n2\r\nes\r\n0\r\n\r\n` },
    { name: 'one that ends with the connection', text: `${HEAD}\r\nyes` },
    { name: 'one of an older version', text: 'HTTP/1.0 200 OK\r\n\r\nyes' },
    { name: 'one without a body', text: 'HTTP/1.1 204 No Content\r\n\r\n', status: 204, body: '' },
    { name: 'one that says to go on first', text: `HTTP/1.1 100 Continue\r\n\r\n${ok('yes')}` },
    { name: 'one with hints first', text: `HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n${ok('yes')}` },
    { name: 'a refusal', text: ok('no').replace('200 OK', '403 Forbidden'), status: 403, body: 'no' },
    { name: 'one as large as allowed', text: ok('x'.repeat(1000)), body: 'x'.repeat(1000) },
    { name: 'one that is longer than it says', text: `${ok('yes')}more`, body: 'yes' },
])
    test(`taken: ${name}`, async (t) => {
        const peer = await tlsPeer(
            t,
            answering((socket) => socket.end(text)),
        )
        const answer = await get(sessionWith(t, peer))
        t.deepEqual([answer.status, answer.body.toString()], [status, body])
    })

test('headers: names in lower case, the first value of each, every cookie', async (t) => {
    const peer = await tlsPeer(
        t,
        answering((socket) =>
            socket.end(
                `${HEAD}X-One: 1\r\nx-one: 2\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n__proto__: x\r\ncontent-length: 0\r\n\r\n`,
            ),
        ),
    )
    const { headers, cookies } = await get(sessionWith(t, peer))
    t.is(headers['x-one'], '1')
    t.deepEqual(cookies, ['a=1', 'b=2'])
    t.is(headers['toString' as never], Object.prototype.toString as never)
})

for (const status of [300, 301, 302, 303, 304, 307, 308])
    test(`refused: a redirect with ${status}, and where to is not asked`, async (t) => {
        const other = await tlsPeer(
            t,
            answering((socket) => socket.end(ok('elsewhere'))),
        )
        const peer = await tlsPeer(
            t,
            answering((socket) =>
                socket.write(`HTTP/1.1 ${status} Go\r\nlocation: ${other.url}/\r\ncontent-length: 0\r\n\r\n`),
            ),
        )
        await t.throwsAsync(get(sessionWith(t, peer)), { code: 'ERR_HTTP_RESPONSE', message: new RegExp(`${status}`) })
        t.is(other.connections(), 0)
    })

const BOMB = 'x'.repeat(20_000)

for (const { name, text, code = 'ERR_HTTP_RESPONSE', message = /./ } of [
    { name: 'no HTTP', text: 'SSH-2.0-OpenSSH_9.2p1\r\n' },
    { name: 'a version that there is not', text: 'HTTP/9.9 200 OK\r\n\r\n' },
    { name: 'a status that is none', text: 'HTTP/1.1 OK\r\n\r\n' },
    { name: 'a header of 20 kB', text: `${HEAD}x: ${BOMB}\r\n\r\n`, message: /[Hh]eader/ },
    { name: 'many headers', text: `${HEAD}${'x: y\r\n'.repeat(20_000)}\r\n`, message: /[Hh]eader/ },
    { name: 'a header with a NUL', text: `${HEAD}x: a\0b\r\n\r\n` },
    { name: 'a header that is folded', text: `${HEAD}x: a\r\n b\r\ncontent-length: 0\r\n\r\n` },
    { name: 'a length that is negative', text: `${HEAD}content-length: -1\r\n\r\n` },
    { name: 'two lengths', text: `${HEAD}content-length: 3\r\ncontent-length: 4\r\n\r\nyes!` },
    { name: 'a length and chunks', text: `${HEAD}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyes` },
    { name: 'a chunk of no size', text: `${CHUNKED}3\r\nyes\r\nzz\r\n\r\n` },
    { name: 'a chunk longer than it says', text: `${CHUNKED}1\r\nyes\r\n0\r\n\r\n` },
    { name: 'a chunk extension of 20 kB', text: `${CHUNKED}3;${BOMB}\r\nyes\r\n0\r\n\r\n` },
    { name: 'a trailer of 20 kB', text: `${CHUNKED}0\r\nx: ${BOMB}\r\n\r\n` },
    { name: 'one byte too many', text: ok('x'.repeat(1001)), message: /more than 1000 bytes/ },
    {
        name: 'a length of a terabyte',
        text: `${HEAD}content-length: 1000000000000\r\n\r\n${BOMB}`,
        message: /more than/,
    },
    { name: 'too many chunks', text: `${CHUNKED}${'1\r\nx\r\n'.repeat(1001)}0\r\n\r\n`, message: /more than/ },
    { name: 'too much, and no length', text: `${HEAD}\r\n${BOMB}`, message: /more than/ },
    { name: 'a body that breaks off', text: `${HEAD}content-length: 4\r\n\r\nyes`, code: 'ERR_HTTP_CONNECT' },
    { name: 'chunks that break off', text: `${CHUNKED}3\r\nyes\r\n`, code: 'ERR_HTTP_CONNECT' },
    { name: 'headers that break off', text: `${HEAD}x: y\r\n`, code: 'ERR_HTTP_CONNECT' },
    { name: 'nothing', text: '', code: 'ERR_HTTP_CONNECT' },
    {
        name: 'another protocol that nobody asked for',
        text: 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
        message: /another protocol/,
    },
])
    test(`refused: ${name}`, async (t) => {
        const peer = await tlsPeer(
            t,
            answering((socket) => socket.end(Buffer.from(text, 'latin1'))),
        )
        const error = await t.throwsAsync<AttestError>(get(sessionWith(t, peer)), { code, message })
        t.is(error?.passes, code === 'ERR_HTTP_CONNECT', 'what broke off may go well next time')
        t.true(error?.message.startsWith(peer.url))
    })

/** What the peer does until it is left: bytes of this, one at a time, for ever, after others at once. */
const trickle = (socket: Socket, bytes: string, first = ''): void => {
    socket.write(first, 'latin1')
    let at = 0
    const timer = setInterval(() => socket.write(bytes.charAt(at++ % bytes.length), 'latin1'), 5)
    socket.on('close', () => clearInterval(timer))
}

/** A TLS record of 16 kB that has been begun. */
const RECORD = '\u0016\u0003\u0003\u0040\u0000\u0002\u0000\u003f\u00fc'

for (const { name, secure = true, serve } of [
    { name: 'a handshake that does not begin', secure: false, serve: (socket: Socket) => socket.resume() },
    {
        name: 'a handshake that trickles',
        secure: false,
        serve: (socket: Socket) => trickle(socket, 'x', RECORD),
    },
    { name: 'an answer that does not begin', serve: (socket: Socket) => socket.resume() },
    {
        name: 'a status that trickles',
        serve: (socket: Socket) => trickle(socket, `HTTP/1.1 200 ${'k'.repeat(10_000)}`),
    },
    {
        name: 'headers that trickle',
        serve: (socket: Socket) => trickle(socket, 'x: y\r\n', HEAD),
    },
    {
        name: 'a promise that is made again and again',
        serve: (socket: Socket) => trickle(socket, 'HTTP/1.1 100 Continue\r\n\r\n'),
    },
    { name: 'a body that does not begin', serve: (socket: Socket) => socket.write(`${HEAD}content-length: 9\r\n\r\n`) },
    {
        name: 'a body that trickles',
        serve: (socket: Socket) => trickle(socket, '1\r\nx\r\n', CHUNKED),
    },
])
    for (const { how, reason, code } of [
        { how: 'its deadline', reason: coreError('ERR_INTERRUPTED', 'gave up'), code: 'ERR_INTERRUPTED' },
        { how: 'any signal', reason: new Error('enough'), code: 'ERR_HTTP_TIMEOUT' },
    ])
        test(`${name}: ends with ${how}, and the peer hears of it`, async (t) => {
            const ending = new AbortController()
            const act = (socket: Socket): void => {
                serve(socket)
                setTimeout(() => ending.abort(reason), 50)
            }
            const peer = secure ? await tlsPeer(t, answering(act)) : await listen(t, createServer(act))
            const session = sessionWith(t, peer, { connectTimeoutMs: 600_000 })
            const signal = AbortSignal.any([ending.signal, patience()])
            const error = await t.throwsAsync(get(session, 1_000_000, signal), { code })
            if (code === 'ERR_INTERRUPTED') t.is(error, reason as Error)
            session.close()
            await peer.closed
            t.is(peer.connections(), 1)
        })

for (const { name, serve } of [
    { name: 'that does not begin', serve: (socket: Socket) => socket.resume() },
    { name: 'that trickles', serve: (socket: Socket) => trickle(socket, 'x', RECORD) },
])
    test(`a handshake ${name}: ends with the time for connections`, async (t) => {
        const peer = await listen(t, createServer(serve))
        const session = sessionWith(t, peer, { connectTimeoutMs: 80 })
        const error = await t.throwsAsync<AttestError>(get(session), {
            code: 'ERR_HTTP_TIMEOUT',
            message: `${peer.url} did not answer within 0.08 s`,
        })
        t.true(error?.passes)
        await peer.closed
    })
