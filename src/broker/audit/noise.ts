// What happens before a guest has proved anything is counted, not recorded one by one: otherwise anybody could fill the
// disk. At most once a minute, and only if there was something, the counts become one record.
// SPDX-License-Identifier: Apache-2.0

import type { Draft } from './record.ts'

export interface Noise {
    /** Counts one event, by the code of its error. True for the first ones of a while: those are worth a line in the log. */
    count(code: string): boolean
    /** Records what was counted since the last time. */
    flush(): void
    close(): void
}

const INTERVAL_MS = 60_000

/** Lines in the log between two records, for the same reason. */
const MAX_LINES = 60

/** Codes are a closed set; the bound is for the day on which one is not. */
const MAX_CODES = 100

export function noise(append: (draft: Draft) => void, now: () => Date): Noise {
    let counts = new Map<string, number>()
    let since = now()
    let lines = 0
    const flush = () => {
        if (counts.size === 0) return
        const data = { since: since.toISOString(), counts: Object.fromEntries(counts) }
        counts = new Map()
        lines = 0
        append({ kind: 'noise', subject: '', data, at: now() })
    }
    const timer = setInterval(flush, INTERVAL_MS).unref()
    return {
        count(code) {
            if (counts.size === 0) since = now()
            if (counts.has(code) || counts.size < MAX_CODES) counts.set(code, (counts.get(code) ?? 0) + 1)
            return ++lines <= MAX_LINES
        },
        flush,
        close: () => clearInterval(timer),
    }
}
