// A guest and an administrator at a broker's doors: real TLS, a real unix socket, really signed reports.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import test from 'ava'
import { POLICY, REFERENCE, rig } from './rig.ts'

test('a key that nobody has seen reaches the guest that the rules name', async (t) => {
    const { admin, attest } = await rig(t)
    t.is((await admin('POST', '/v1/references', REFERENCE)).status, 200)
    t.is((await admin('PUT', '/v1/policies/main', POLICY)).status, 200)
    t.is((await admin('POST', '/v1/resources/web/disk/root/random')).status, 200)
    const guest = await attest()
    const answer = await guest.get('web/disk/root', 'luks-key')
    t.is(answer.status, 200, answer.body.toString())
    t.is(guest.open(answer).length, 32)
    t.deepEqual(Object.keys(answer.json), ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'])
})

test('an opaque resource comes as it was put', async (t) => {
    const { admin, attest } = await rig(t)
    await admin('POST', '/v1/references', REFERENCE)
    await admin('PUT', '/v1/policies/main', POLICY)
    const bytes = randomBytes(5000)
    t.is((await admin('PUT', '/v1/resources/web/files/key', Buffer.from(bytes))).status, 200)
    const guest = await attest()
    t.deepEqual(guest.open(await guest.get('web/files/key')), bytes)
})
