// HTTPS sessions: one connection, kept between requests, made again where it was lost, and left when it is not needed.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { coreError } from '#core/errors.ts'
import { answering, get, listen, ok, type Peer, patience, sessionWith, tlsPeer } from './peer.ts'

test('requests one after the other share a connection', async (t) => {
    const asked: string[] = []
    const peer = await tlsPeer(
        t,
        answering((socket, request) => {
            const [line = ''] = request.split('\r\n')
            asked.push(line)
            setTimeout(() => socket.write(ok(line)), 5)
        }),
    )
    const session = sessionWith(t, peer)
    const paths = ['/a', '/b?c=d', '/e']
    const lines = paths.map((path) => `GET ${path} HTTP/1.1`)
    for (const [i, path] of paths.entries()) {
        const { body } = await session.request({ method: 'GET', path, signal: patience() })
        t.is(body.toString(), lines[i] ?? path)
    }
    t.deepEqual(asked, lines)
    t.is(peer.connections(), 1)
})

for (const { name, end } of [
    { name: 'said so', end: 'Connection: close\r\n' },
    { name: 'did not say so', end: '' },
])
    test(`a connection that the server closed after an answer is made again: it ${name}`, async (t) => {
        const peer = await tlsPeer(
            t,
            answering((socket) => socket.end(ok('yes').replace('\r\n', `\r\n${end}`))),
        )
        const session = sessionWith(t, peer)
        await get(session)
        await peer.closed
        await sleep(20)
        t.is((await get(session)).body.toString(), 'yes')
        t.is(peer.connections(), 2)
    })

for (const { name, leave } of [
    { name: 'ended', leave: (socket: Socket) => void socket.resume().end() },
    { name: 'reset', leave: (_: Socket, peer: Peer) => peer.reset() },
])
    test(`a connection that the server ${name} before anything was asked is made again`, async (t) => {
        const serve = answering((socket) => socket.end(ok('yes')))
        const peer: Peer = await tlsPeer(t, (socket) =>
            peer.connections() === 1 ? leave(socket, peer) : serve(socket),
        )
        const session = sessionWith(t, peer)
        await peer.closed
        await sleep(20)
        t.is((await get(session)).body.toString(), 'yes')
        t.is(peer.connections(), 2)
    })

for (const { name, text } of [
    { name: 'was too large', text: ok('x'.repeat(2000)) },
    { name: 'redirected', text: 'HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 9\r\n\r\n' },
    { name: 'was malformed', text: 'nonsense\r\n\r\n' },
    { name: 'was followed by one that nobody asked for', text: `${ok('yes')}${ok('smuggled')}` },
])
    test(`after an answer that ${name} the next is another`, async (t) => {
        let first = true
        const peer = await tlsPeer(
            t,
            answering((socket) => {
                socket.write(first ? text : ok('next'))
                first = false
            }),
        )
        const session = sessionWith(t, peer)
        await get(session).catch(() => undefined)
        await sleep(20)
        t.is((await get(session)).body.toString(), 'next')
    })

test('an answer that comes too late is nobody’s', async (t) => {
    const ending = new AbortController()
    let first = true
    const peer = await tlsPeer(
        t,
        answering((socket) => {
            const late = first
            first = false
            if (late) ending.abort(coreError('ERR_INTERRUPTED', 'enough'))
            setTimeout(() => socket.write(ok(late ? 'late' : 'next')), late ? 5 : 0)
        }),
    )
    const session = sessionWith(t, peer)
    await t.throwsAsync(get(session, 1000, ending.signal), { code: 'ERR_INTERRUPTED' })
    t.is((await get(session)).body.toString(), 'next')
})

test('a signal that has ended: nothing is sent', async (t) => {
    const asked: string[] = []
    const peer = await tlsPeer(
        t,
        answering((_, request) => void asked.push(request)),
    )
    const reason = coreError('ERR_INTERRUPTED', 'enough')
    await t.throwsAsync(get(sessionWith(t, peer), 1000, AbortSignal.abort(reason)), { is: reason })
    t.deepEqual(asked, [])
})

for (const { name, asks } of [
    { name: 'that nobody used', asks: false },
    { name: 'that somebody waits for', asks: true },
])
    test(`close ends a handshake ${name}`, async (t) => {
        const server = createServer((socket) => socket.resume())
        const peer = await listen(t, server)
        const session = sessionWith(t, peer, { connectTimeoutMs: 600_000 })
        const asking = asks ? get(session) : undefined
        const failed = asking && t.throwsAsync(asking, { code: 'ERR_INTERRUPTED' })
        await once(server, 'connection')
        session.close()
        await Promise.all([peer.closed, failed])
        await t.throwsAsync(get(session), { code: 'ERR_INTERRUPTED', message: /was closed/ })
    })
