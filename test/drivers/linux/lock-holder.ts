// Holds the lock of the folder for a while and writes down when: the other process in device-lock.test.ts.
// SPDX-License-Identifier: Apache-2.0

import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { deviceLock } from '#drivers/linux/device-lock.ts'
import { libc } from '#drivers/linux/libc.ts'

const [, , folder = '', spacingMs, log = '', holdMs] = process.argv
const now = (): number => Number(process.hrtime.bigint() / 1_000_000n)

await deviceLock(libc, folder, Number(spacingMs)).hold('x', async () => {
    const start = now()
    await sleep(Number(holdMs))
    appendFileSync(log, `${start} ${now()}\n`)
})
