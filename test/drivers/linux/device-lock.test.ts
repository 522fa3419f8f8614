// The device lock across real processes: one request at a time, a pause between two, and nothing held by the dead.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { deviceLock } from '#drivers/linux/device-lock.ts'
import { libc } from '#drivers/linux/libc.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../../cli/run.ts'

const HOLDER = fileURLToPath(new URL('./lock-holder.ts', import.meta.url))

test('eight processes take turns, with the pause between them', async (t) => {
    const path = temporaryFolder(t)
    const log = join(path, 'log')
    const ran = await Promise.all(
        Array.from({ length: 8 }, () => run(process.execPath, [HOLDER, path, '50', log, '10'])),
    )
    t.deepEqual(
        ran.map(({ code, stderr }) => [code, stderr]),
        ran.map(() => [0, '']),
    )
    const spans = readFileSync(log, 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.split(' ').map(Number) as [number, number])
    spans.sort(([a], [b]) => a - b)
    t.is(spans.length, 8)
    for (const [i, [start]] of spans.entries())
        if (i > 0) t.true(start - (spans[i - 1]?.[1] ?? 0) >= 48, JSON.stringify(spans))
})

test('a holder that is killed holds nothing', async (t) => {
    const path = temporaryFolder(t)
    await run(process.execPath, [HOLDER, path, '0', join(path, 'log'), '60000'], { timeoutMs: 1500 })
    await deviceLock(libc, path, 0).hold('x', async () => t.pass())
})

test('a wait ends with its signal, and the request was not made', async (t) => {
    const path = temporaryFolder(t)
    const lock = deviceLock(libc, path, 0)
    let release: () => void = () => undefined
    const held = lock.hold(
        'x',
        () =>
            new Promise<void>((resolve) => {
                release = resolve
            }),
    )
    const reason = new Error('enough')
    await t.throwsAsync(
        lock.hold('x', async () => t.fail(), AbortSignal.abort(reason)),
        { is: reason },
    )
    const late = new AbortController()
    const waiting = lock.hold('x', async () => t.fail(), late.signal)
    setTimeout(() => late.abort(reason), 60)
    await t.throwsAsync(waiting, { is: reason })
    release()
    await held
})

test('what the request throws passes through, and the lock is free again', async (t) => {
    const path = temporaryFolder(t)
    const lock = deviceLock(libc, path, 0)
    await t.throwsAsync(
        lock.hold('x', async () => {
            throw new Error('broken')
        }),
        { message: 'broken' },
    )
    t.is(await lock.hold('x', async () => 7), 7)
})

test('a folder that cannot be made is an error that says so', async (t) => {
    await t.throwsAsync(
        deviceLock(libc, '/proc/nowhere', 0).hold('x', async () => t.fail()),
        { code: 'ERR_LOCK' },
    )
})
