// Whatever somebody sends to the doors of the launch service, it is answered in an orderly way: never by an internal error.
// SPDX-License-Identifier: Apache-2.0

import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { LAUNCHED } from '#plugins.ts'
import { capabilities, newUuid, registration, thePlatform } from './launch-rig.ts'
import { adminRequest, records, rig } from './rig.ts'

const platform = await thePlatform()

const CLAIM = { 'api-major': 1, 'api-minor': 55, 'build-id': 21, policy: 7, measurement: 'A'.repeat(64) }

/** A body with some members exchanged, or another one. */
function bodies(good: object, count: number): string[] {
    const values = fc.sample(fc.jsonValue({ maxDepth: 3 }), count)
    const names = [...Object.keys(good), '__proto__', 'launch-id', 'constructor']
    return values.map((value, at) => {
        if (at % 5 === 0) return JSON.stringify(value)
        const text = JSON.stringify({ ...good, [names[at % names.length] ?? '']: value })
        return at % 7 === 0 ? text.slice(0, randomInt(text.length)) : text
    })
}

const STRANGE = [
    '',
    '\0',
    '{',
    '{"policy":7,"policy":3}',
    `${'['.repeat(9000)}`,
    '1e999',
    '"\\ud800"',
    '\ufeff{}',
    'null',
]

test('registrations', async (t) => {
    const broker = await rig(t, { serve: { launched: LAUNCHED } })
    const answers = new Map<number, number>()
    for (const body of [...STRANGE, ...bodies(registration(platform), 300)]) {
        const { status } = await adminRequest(
            join(broker.folder, 'admin.sock'),
            'POST',
            `/v1/vm/${newUuid()}`,
            body,
            'application/json',
        )
        t.true(status < 500, `${status}: ${body.slice(0, 200)}`)
        answers.set(status, (answers.get(status) ?? 0) + 1)
    }
    t.true((answers.get(400) ?? 0) > 100)
    t.log([...answers].map(([status, count]) => `${count} × ${status}`).join(', '))
})

for (const { route, good } of [
    { route: 'launch', good: capabilities(platform) },
    { route: 'validate', good: CLAIM },
])
    test(`what a host sends to ${route}`, async (t) => {
        const broker = await rig(t, { serve: { launched: LAUNCHED } })
        const at = `/v1/vm/${newUuid()}`
        t.is((await broker.adminJson('POST', at, registration(platform))).status, 200)
        // As many as one address may send in a minute.
        for (const body of [...STRANGE, ...bodies(good, 45)]) {
            const { status } = await broker.ask('POST', `${at}/${route}`, body)
            t.true(status < 500, `${status}: ${body.slice(0, 200)}`)
        }
        const kinds = new Set((await records(broker)).map(({ kind }) => kind))
        t.false(kinds.has('launch-end'))
        t.deepEqual(
            broker.log.filter((line) => line.startsWith('error')),
            [],
        )
    })
