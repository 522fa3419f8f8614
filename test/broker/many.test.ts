// A broker that holds more than one strict JSON text is allowed to have in it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { ResourceEntry } from '#broker/state.ts'
import { admin } from '#cli/broker/admin.ts'
import { rig } from './rig.ts'

/** Each has eight members: together more than the 65536 values that a text of a stranger may have. */
const MANY = 9_000

test('every resource is listed, however many there are', async (t) => {
    const { folder, serving } = await rig(t)
    const { state } = serving.broker.data
    const time = '2026-11-20T12:00:00.000Z'
    const data = JSON.stringify({ version: 1, kind: 'opaque', maxReleases: null, digest: '00'.repeat(32) })
    for (let i = 0; i < MANY; i++)
        state.apply({
            seq: i + 10,
            time,
            kind: 'put',
            subject: `web/many/${i}`,
            data,
            prev: '',
            hash: '',
            signature: null,
        })
    const listed = await admin(folder).json<ResourceEntry[]>({ method: 'GET', path: '/v1/resources' })
    t.is(listed.length, MANY)
    t.is(listed.at(-1)?.path, `web/many/${MANY - 1}`)
})
