// Denials are remembered for the boot, with a delay that grows: loops that retry an unlock for ever must not ask a broker
// for ever, and a broker that has changed its mind is asked again without a restart. Each is a file under /run.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod/mini'
import { RUN_FOLDER } from '#core/role.ts'
import { monotonicMs } from '#core/wait.ts'
import { unlockError } from './errors.ts'

export interface Denials {
    /** Milliseconds until this may be asked again; 0 where nothing is in the way. */
    waitMs(server: string, path: string): number
    /** @throws AttestError ERR_UNLOCK_DENIED_EARLIER */
    refuseIfDenied(server: string, path: string): void
    remember(server: string, path: string, reason: string): void
}

/** The first delay; each further denial doubles it. */
const FIRST_DELAY_MS = 30_000
const LONGEST_DELAY_MS = 3_600_000

const MAX_REASON = 1000

const DENIAL = z.object({ times: z.int().check(z.gte(1)), until: z.number(), reason: z.string() })

type Denial = z.infer<typeof DENIAL>

/** @param now milliseconds since the boot: the clock of the day is the host's */
export function bootDenials(folder = join(RUN_FOLDER, 'denied'), now = monotonicMs): Denials {
    const fileOf = (server: string, path: string): string =>
        join(folder, createHash('sha256').update(`${server}\0${path}`).digest('hex').slice(0, 32))

    const read = (file: string): Denial | null => {
        try {
            return DENIAL.parse(JSON.parse(readFileSync(file, 'utf8')))
        } catch {
            return null
        }
    }

    const waitMs = (denial: Denial | null): number => (denial ? Math.max(0, denial.until - now()) : 0)

    return {
        waitMs: (server, path) => waitMs(read(fileOf(server, path))),
        refuseIfDenied(server, path) {
            const file = fileOf(server, path)
            const denial = read(file)
            const wait = waitMs(denial)
            if (!denial || wait === 0) return
            throw unlockError('ERR_UNLOCK_DENIED_EARLIER', `denied earlier in this boot: ${denial.reason}`, {
                hint: `it is asked again in ${Math.ceil(wait / 1000)} s, or at once after: rm ${file}`,
            })
        },
        remember(server, path, reason) {
            const file = fileOf(server, path)
            const times = (read(file)?.times ?? 0) + 1
            const delay = Math.min(FIRST_DELAY_MS * 2 ** (times - 1), LONGEST_DELAY_MS)
            const denial: Denial = { times, until: now() + delay, reason: reason.slice(0, MAX_REASON) }
            try {
                mkdirSync(folder, { recursive: true, mode: 0o700 })
                writeFileSync(file, JSON.stringify(denial), { mode: 0o600 })
            } catch {
                // Without /run the broker is asked again: that costs it a handshake, and opens nothing.
            }
        },
    }
}
