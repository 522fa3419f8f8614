// Answers to systemd's requests for a passphrase, read by another program.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import { secret } from '#core/bytes.ts'
import { libc } from '#drivers/linux/libc.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs, ROOT } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { receiveDatagram } from '#test/perl-client.ts'
import { passwordAgent, requestsFor } from '#unlock/ask-password.ts'
import { NO_STATUS } from '#unlock/status.ts'

const REQUEST = (lines: Record<string, string>): string =>
    `[Ask]\n${Object.entries({ PID: '1', Socket: '/run/systemd/ask-password/sck.1', ...lines })
        .map(([name, value]) => `${name}=${value}\n`)
        .join('')}`

for (const { name, request, want } of [
    { name: 'this device', request: REQUEST({ Id: 'cryptsetup:DEVICE' }), want: 1 },
    { name: 'this device by another name', request: REQUEST({ Id: 'cryptsetup:LINK' }), want: 1 },
    { name: 'another device', request: REQUEST({ Id: 'cryptsetup:/dev/null' }), want: 0 },
    { name: 'a device that is not there', request: REQUEST({ Id: 'cryptsetup:/nowhere' }), want: 0 },
    { name: 'another kind of request', request: REQUEST({ Id: 'ssh:DEVICE' }), want: 0 },
    { name: 'no id', request: REQUEST({}), want: 0 },
    { name: 'a socket elsewhere', request: REQUEST({ Id: 'cryptsetup:DEVICE', Socket: '/tmp/x' }), want: 0 },
    { name: 'not a request', request: 'hello', want: 0 },
    { name: 'one without an end', request: REQUEST({ Id: 'cryptsetup:DEVICE', Pad: 'x'.repeat(70_000) }), want: 0 },
])
    test(`requests: ${name}`, (t) => {
        const folder = temporaryFolder(t)
        const device = join(folder, 'device')
        writeFileSync(device, '')
        symlinkSync(device, join(folder, 'link'))
        const text = request.replace('DEVICE', device).replace('LINK', join(folder, 'link'))
        writeFileSync(join(folder, 'ask.1'), text)
        writeFileSync(join(folder, 'tmp.2'), REQUEST({ Id: `cryptsetup:${device}` }))
        t.is(requestsFor(folder, device).length, want)
    })

test('nobody has asked for anything yet', (t) => {
    t.deepEqual(requestsFor(join(temporaryFolder(t), 'none'), '/dev/null'), [])
})

needs(ROOT, programs('perl'))('the passphrase is sent to who asks, as soon as somebody does', async (t) => {
    const folder = temporaryFolder(t)
    const socket = `/run/systemd/guest-attest-test-${process.pid}`
    mkdirSync('/run/systemd', { recursive: true })
    t.teardown(() => rmSync(socket, { force: true }))
    const told: string[] = []
    const doors = { ...libc(), notify: (state: string) => void told.push(state) }
    const agent = passwordAgent(folder, doors, NO_STATUS, folder)
    agent.ready()
    t.deepEqual(told, ['READY=1'])
    const delivered = agent.deliver(secret(Buffer.from('a passphrase')), AbortSignal.timeout(30_000))
    const receiver = receiveDatagram(socket)
    await once(receiver.stdout, 'data')
    await sleep(200)
    writeFileSync(join(folder, 'ask.x'), REQUEST({ Id: `cryptsetup:${folder}`, Socket: socket }))
    t.is(await text(receiver.stdout), '+a passphrase')
    await delivered
})
