// One key at a time: who waits, who goes on, and what ends it.
// SPDX-License-Identifier: Apache-2.0

import { setImmediate as turn } from 'node:timers/promises'
import test from 'ava'
import { trial } from '#unlock/trial.ts'

function made() {
    const done = new AbortController()
    return { done, signal: done.signal, ...trial(() => done.abort(new Error('won'))) }
}

test('nobody waits where no key is being tried', async (t) => {
    const { free, attempt, signal } = made()
    await free(signal)
    t.is(await attempt(signal, () => 'opened'), 'opened')
})

test('while a key is tried others wait; after it has opened their time is over', async (t) => {
    const { free, attempt, signal } = made()
    const first = Promise.withResolvers<string>()
    const opened = attempt(signal, () => first.promise)
    const waiting = [free(signal), attempt(signal, () => t.fail())].map((one) => t.throwsAsync(one, { message: 'won' }))
    await turn()
    first.resolve('opened')
    t.is(await opened, 'opened')
    await Promise.all(waiting)
    await t.throwsAsync(
        attempt(signal, () => t.fail()),
        { message: 'won' },
    )
})

test('after a key that does not open the others are tried, one after the other', async (t) => {
    const { free, attempt, signal } = made()
    const first = Promise.withResolvers<string>()
    let running = 0
    let freed = false
    const once = async (open: () => Promise<string>) => {
        t.is(++running, 1)
        try {
            await turn()
            return await open()
        } finally {
            running--
        }
    }
    const shut = attempt(signal, () => once(() => first.promise))
    const others = ['second', 'third'].map((name) => attempt(signal, () => once(() => Promise.reject(new Error(name)))))
    const waiting = free(signal).then(() => {
        freed = true
    })
    const said = Promise.allSettled([shut, ...others])
    await turn()
    t.false(freed)
    first.reject(new Error('first'))
    t.deepEqual(
        (await said).map((one) => one.status === 'rejected' && (one.reason as Error).message),
        ['first', 'second', 'third'],
    )
    await waiting
    t.false(signal.aborted)
})

test('who waits hears of the deadline; the key that is tried goes on', async (t) => {
    const { free, attempt, done, signal } = made()
    const first = Promise.withResolvers<string>()
    const opened = attempt(signal, () => first.promise)
    const waiting = t.throwsAsync(free(signal), { message: 'late' })
    done.abort(new Error('late'))
    await waiting
    first.resolve('opened')
    t.is(await opened, 'opened')
})
