// What the C library tells of the other end of a unix socket, and datagrams, with another program at that end.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { libc } from '#drivers/linux/libc.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { connectFrom, receiveDatagram } from '#test/perl-client.ts'

const perl = needs(programs('perl'))

const descriptorOf = (socket: Socket): number =>
    (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd

for (const { name, own, want } of [
    {
        name: 'an abstract address',
        own: '@guest-attest-test/cryptsetup/root',
        want: '\0guest-attest-test/cryptsetup/root',
    },
    { name: 'no address', own: null, want: '' },
])
    perl(`the peer of a unix socket: ${name}`, async (t) => {
        const path = join(temporaryFolder(t), 's')
        const server = createServer().listen(path)
        await once(server, 'listening')
        const client = connectFrom(own, path)
        const [socket] = (await once(server, 'connection')) as [Socket]
        t.is(libc().peerName(descriptorOf(socket)).toString('latin1'), want)
        t.is(libc().peerUser(descriptorOf(socket)), process.getuid?.() as number)
        socket.end('x')
        t.is(await text(client.stdout), 'x')
        server.close()
    })

perl('a datagram arrives whole, and not where nobody listens', async (t) => {
    const path = join(temporaryFolder(t), 'd')
    const receiver = receiveDatagram(path)
    await once(receiver.stdout, 'data')
    t.true(libc().sendDatagram(path, Buffer.from('READY=1')))
    t.is(await text(receiver.stdout), 'READY=1')
    t.false(libc().sendDatagram(`${path}2`, Buffer.from('x')))
})

perl('what is no socket has no peer', (t) => {
    t.throws(() => libc().peerName(0), { code: 'ERR_DEVICE_IO' })
    t.throws(() => libc().sendDatagram(`/${'x'.repeat(200)}`, Buffer.from('x')), { message: /too long/ })
})
