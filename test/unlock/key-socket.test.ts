// The key socket, with clients that name themselves as systemd-cryptsetup does, and with others.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { secret } from '#core/bytes.ts'
import { silent } from '#core/log.ts'
import { libc } from '#drivers/linux/libc.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { connectFrom } from '#test/perl-client.ts'
import { keySocket } from '#unlock/key-socket.ts'

const perl = needs(programs('perl'))

/** Each client has a number of its own: an abstract address is one for the whole machine. */
const client = () => `@${randomBytes(8).toString('hex')}/cryptsetup/root`
const PASSPHRASE = 'x'.repeat(43)
const MINUTE = 60_000

async function listening(t: ExecutionContext, user = process.getuid?.() ?? 0) {
    const path = join(temporaryFolder(t), 'root.sock')
    const server = createServer({ allowHalfOpen: true }).listen(path)
    await once(server, 'listening')
    const told: string[] = []
    const warned: string[] = []
    const doors = { ...libc(), notify: (state: string) => void told.push(state) }
    const log = { ...silent, warn: (message: string) => void warned.push(message) }
    const socket = keySocket('root', server, doors, log, user)
    t.teardown(() => server.close())
    return { path, server, socket, told, warned }
}

const passphrase = () => secret(Buffer.from(PASSPHRASE))

perl('who asked before the key is there is held, and gets all of it', async (t) => {
    const { path, server, socket, told } = await listening(t)
    socket.ready()
    t.deepEqual(told, ['READY=1'])
    const asking = connectFrom(client(), path)
    const got = text(asking.stdout)
    await once(server, 'connection')
    await sleep(300)
    t.is(asking.exitCode, null)
    await socket.deliver(passphrase(), AbortSignal.timeout(MINUTE))
    t.is(await got, PASSPHRASE)
})

perl('who asks after the key is there gets it', async (t) => {
    const { path, socket } = await listening(t)
    const delivered = socket.deliver(passphrase(), AbortSignal.timeout(MINUTE))
    await sleep(100)
    t.is(await text(connectFrom(client(), path).stdout), PASSPHRASE)
    await delivered
})

perl('who has gone does not take the key along: the next one gets it', async (t) => {
    const { path, socket } = await listening(t)
    const first = connectFrom(client(), path)
    await sleep(300)
    first.kill('SIGKILL')
    await once(first, 'exit')
    const second = text(connectFrom(client(), path).stdout)
    await socket.deliver(passphrase(), AbortSignal.timeout(MINUTE))
    t.is(await second, PASSPHRASE)
})

perl('at the deadline what is sent opens nothing; an empty answer would be the empty passphrase', async (t) => {
    const { path, server, socket } = await listening(t)
    const got = text(connectFrom(client(), path).stdout)
    await once(server, 'connection')
    await socket[Symbol.asyncDispose]()
    t.true((await got).length > 0)
    t.not(await got, PASSPHRASE)
})

perl('what opens nothing is sent to everybody who waits before the socket is gone', async (t) => {
    const { path, server, socket } = await listening(t)
    const sockets: Socket[] = []
    const both = Promise.withResolvers<void>()
    server.on('connection', (one: Socket) => {
        if (sockets.push(one) === 2) both.resolve()
    })
    const got = [connectFrom(client(), path), connectFrom(client(), path)].map(({ stdout }) => text(stdout))
    await both.promise
    await socket[Symbol.asyncDispose]()
    t.deepEqual(
        sockets.map(({ writableFinished }) => writableFinished),
        [true, true],
    )
    for (const one of await Promise.all(got)) t.true(one.length > 0)
})

perl('nobody asks: delivering ends with the deadline', async (t) => {
    const { socket } = await listening(t)
    await t.throwsAsync(socket.deliver(passphrase(), AbortSignal.timeout(100)))
})

for (const { name, own, user, says } of [
    { name: 'another volume', own: '@7b3a/cryptsetup/data', says: /not systemd-cryptsetup for root/ },
    { name: 'no name', own: null, says: /not systemd-cryptsetup for root/ },
    { name: 'another program', own: '@7b3a/somebody/root', says: /not systemd-cryptsetup for root/ },
    { name: 'another user', own: client(), user: 4711, says: /^a connection was refused: user \d+ asks$/ },
])
    perl(`refused, and nothing is sent: ${name}`, async (t) => {
        const { path, socket, warned } = await listening(t, user)
        const delivered = socket.deliver(passphrase(), AbortSignal.timeout(1500))
        t.is(await text(connectFrom(own, path).stdout), '')
        t.regex(warned[0] ?? '', says)
        await t.throwsAsync(delivered)
    })
