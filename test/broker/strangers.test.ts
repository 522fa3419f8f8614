// Peers that have proved nothing, and guests that nobody knows: what they can cost, and that others are served beside them.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { AUTH, cookieOf, rig } from './rig.ts'

// Nothing is proved yet: what is answered and logged is short, whatever was sent.
for (const { name, body } of [
    { name: 'unknown keys', body: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`key ${i}`, i])) },
    { name: 'a long key that stands twice', body: `{"${'x'.repeat(1_000_000)}":1,"${'x'.repeat(1_000_000)}":2}` },
])
    test(`a refusal is short: ${name}`, async (t) => {
        const { ask, log } = await rig(t)
        const challenge = await ask('POST', '/kbs/v0/auth', AUTH)
        const answer = await ask('POST', '/kbs/v0/attest', body, { cookie: cookieOf(challenge) })
        t.is(answer.status, 400)
        t.true(answer.body.length < 3000, `${answer.body.length}`)
        t.true(log.some((line) => line.startsWith('info refused')))
        for (const line of log) t.true(line.length < 3000, `${line.length}`)
    })
