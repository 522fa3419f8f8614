// Who may hold how many of the sessions.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { MAX_OF_GUEST, PLACE_BYTES, sessionPool } from '#broker/session-pool.ts'

const LIFETIME = 1000

function started(maxSessions: number, maxSessionsPerAddress = maxSessions) {
    const time = { now: 0 }
    const pool = sessionPool<string>({
        maxSessions,
        maxSessionsPerAddress,
        lifetimeMs: LIFETIME,
        ticks: () => time.now,
    })
    let count = 0
    /** Begins a session; its key, or null where there is no room. */
    const begin = (guestId: string | null, known: boolean, address = '192.0.2.1', bytes = 100): string | null => {
        const key = `${++count}`
        return pool.add(key, key, { guestId, known, address, bytes }) ? key : null
    }
    return { time, pool, begin }
}

test('guests that nobody knows hold a part, and those that are known the rest', (t) => {
    const { pool, begin } = started(8)
    const strangers = Array.from({ length: 4 }, (_, i) => begin(`stranger ${i}`, false))
    t.is(strangers.filter(Boolean).length, 2)
    const known = Array.from({ length: 8 }, (_, i) => begin(`known ${i}`, true))
    t.is(known.filter(Boolean).length, 6)
    t.false(pool.hasRoom('192.0.2.1'))
    for (const key of [...strangers, ...known]) if (key) t.is(pool.get(key), key, 'nobody was thrown out')
})

test('one launch of a guest ends its own oldest session', (t) => {
    const { pool, begin } = started(1000)
    const other = begin('b', true) as string
    const keys = Array.from({ length: MAX_OF_GUEST + 2 }, () => begin('a', true) as string)
    t.deepEqual(
        keys.filter((key) => pool.get(key) === undefined),
        keys.slice(0, 2),
    )
    t.is(pool.get(other), other)
    t.is(pool.size, MAX_OF_GUEST + 1)
})

test('a stranger that fills the part of the strangers goes on with its own alone', (t) => {
    const { pool, begin } = started(8)
    const keys = [1, 2, 3].map(() => begin('a', false) as string)
    t.deepEqual(
        keys.map((key) => pool.get(key) !== undefined),
        [false, true, true],
    )
    t.is(begin('b', false), null)
    t.is(begin(null, false), null)
})

test('an address has its share, a stranger there a part of that', (t) => {
    const { pool, begin } = started(100, 4)
    t.truthy(begin('s', false))
    t.is(begin('t', false), null)
    t.truthy(begin('u', false, '192.0.2.2'))
    for (const id of ['a', 'b', 'c']) t.truthy(begin(id, true))
    t.is(begin('d', true), null)
    t.false(pool.hasRoom('192.0.2.1'))
    t.true(pool.hasRoom('192.0.2.2'))
})

test('what has ended makes room, in every count', (t) => {
    const { time, pool, begin } = started(4)
    const held = [begin('s', false), begin('a', true), begin('b', true), begin(null, true)]
    t.true(held.every(Boolean))
    time.now += LIFETIME
    t.is(pool.size, 0)
    t.truthy(begin('t', false))
    t.truthy(begin('a', true))
    t.is(pool.size, 2)
})

test('a session that keeps much takes several places, and gives them back', (t) => {
    const { pool, begin, time } = started(8, 6)
    const large = 4 * PLACE_BYTES
    t.truthy(begin(null, true, undefined, large))
    t.is(begin(null, true, undefined, large), null, 'more than an address may hold')
    t.truthy(begin(null, true))
    t.truthy(begin(null, true))
    t.is(begin(null, true), null)
    t.is(begin(null, false, '192.0.2.2', large), null, 'a stranger has a part')
    t.is(pool.size, 3)
    time.now += LIFETIME
    t.truthy(begin(null, true, undefined, large))
    t.is(begin(null, true, '192.0.2.2', large + 1), null, 'what is begun counts')
    t.truthy(begin(null, true, '192.0.2.2', large))
})
