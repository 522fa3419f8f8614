// Time: a deadline ends with the earlier of its limit and its parent and leaves nothing behind; pauses grow, scatter,
// and end with their signal.
// SPDX-License-Identifier: Apache-2.0

import { getEventListeners, once } from 'node:events'
import test from 'ava'
import fc from 'fast-check'
import { canPass } from '#core/errors.ts'
import { backoff, deadline, pause } from '#core/wait.ts'

const HOUR = 3_600_000

/** Timers that keep this thread alive. Compared without a pause in between, so that nobody else's come or go. */
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

test('a deadline that passes: what gave up, and after how long', async (t) => {
    const parent = new AbortController()
    using signal = deadline(15, 'the key a/b/c', parent.signal)
    t.false(signal.aborted)
    await once(signal, 'abort')
    const reason = t.throws(() => signal.throwIfAborted(), {
        code: 'ERR_INTERRUPTED',
        message: 'the key a/b/c: gave up after 0.015 s',
    })
    t.true(canPass(reason))
    t.is(listeners(parent.signal), 0)
    t.false(parent.signal.aborted)
})

test('a parent that ends: its reason', (t) => {
    const parent = new AbortController()
    const before = timers()
    const signal = deadline(HOUR, 'x', parent.signal)
    t.is(timers(), before + 1)
    const reason = new Error('enough')
    parent.abort(reason)
    t.true(signal.aborted)
    t.is(signal.reason, reason)
    t.is(timers(), before)
    t.is(listeners(parent.signal), 0)
})

test('a parent that has ended already: the same, at once', (t) => {
    const reason = new Error('enough')
    const before = timers()
    const signal = deadline(HOUR, 'x', AbortSignal.abort(reason))
    t.is(signal.reason, reason)
    t.is(timers(), before)
})

test('a deadline that is not needed any more leaves nothing behind', (t) => {
    const parent = new AbortController()
    const before = timers()
    {
        using signal = deadline(HOUR, 'x', parent.signal)
        t.false(signal.aborted)
        t.is(listeners(parent.signal), 1)
    }
    t.is(timers(), before)
    t.is(listeners(parent.signal), 0)
})

test('a deadline within a deadline ends with the outer one', (t) => {
    const top = new AbortController()
    using outer = deadline(HOUR, 'outer', top.signal)
    using inner = deadline(2 * HOUR, 'inner', outer)
    top.abort(new Error('enough'))
    t.is(inner.reason, outer.reason)
})

test('a pause ends with its signal, and leaves no timer', async (t) => {
    const ending = new AbortController()
    const reason = new Error('enough')
    const before = timers()
    const pausing = pause(HOUR, ending.signal)
    t.is(timers(), before + 1)
    ending.abort(reason)
    t.is(timers(), before)
    await t.throwsAsync(pausing, { is: reason })
})

for (const ms of [0, -1, HOUR])
    test(`a pause of ${ms} ms does not begin where its signal has ended`, async (t) => {
        const reason = new Error('enough')
        await t.throwsAsync(pause(ms, AbortSignal.abort(reason)), { is: reason })
    })

for (const ms of [0, -1, 1])
    test(`a pause of ${ms} ms ends by itself`, async (t) => {
        const { signal } = new AbortController()
        await pause(ms, signal)
        t.is(listeners(signal), 0)
    })

const first = (count: number, pauses: Iterator<number>): number[] =>
    Array.from({ length: count }, () => pauses.next().value)

for (const { chance, mostMs, want } of [
    { chance: 0, mostMs: 8000, want: [250, 500, 1000, 2000, 4000, 4000] },
    { chance: 0.5, mostMs: 8000, want: [375, 750, 1500, 3000, 6000, 6000] },
    { chance: 1, mostMs: 3000, want: [500, 1000, 2000, 3000, 3000, 3000] },
])
    test(`pauses up to ${mostMs} ms double, and are scattered over their second half by ${chance}`, (t) => {
        const pauses = backoff(500, mostMs, () => chance)
        t.deepEqual(first(6, pauses), want)
    })

test('whatever chance says, a pause is within its bounds', (t) =>
    fc.assert(
        fc.property(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 1, max: 20 }), (firstMs, times) => {
            const mostMs = firstMs * times
            for (const [i, ms] of first(8, backoff(firstMs, mostMs)).entries()) {
                const whole = Math.min(firstMs * 2 ** i, mostMs)
                t.true(ms >= whole / 2 && ms <= whole, `${ms} of ${whole}`)
            }
        }),
    ))

test('two that begin together do not go on together', (t) => {
    const [a, b] = [first(10, backoff(500, 8000)), first(10, backoff(500, 8000))]
    t.notDeepEqual(a, b)
})
