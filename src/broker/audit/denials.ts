// Denials of proven guests. The first few of a kind are recorded whole, one by one; repeats of them are counted, and once a
// minute at most one record says who was denied what, and how often. Otherwise any genuine guest that nobody knows could
// fill the disk: the log cannot be shortened.
// SPDX-License-Identifier: Apache-2.0

import { networkOf } from '../shares.ts'
import type { Draft } from './record.ts'

/** One denial, as far as the record of its repeats tells of it. */
export interface Denial {
    readonly code: string
    readonly path: string
    readonly tee: string
    readonly guestId: string | null
    readonly measurement: string
    readonly session: string
    readonly peer: string
    readonly correlation: string
}

export interface Denials {
    /** True: this one is recorded whole. False: it has been counted. */
    isFirst(denial: Denial): boolean
    /** Records what was counted since the last time. */
    flush(): void
    close(): void
}

const INTERVAL_MS = 60_000

/** For how long a few are a few. */
const WINDOW_MS = 60 * 60_000

/** Recorded whole, of each code in that time: of one guest, and of one address, where a stranger may launch many. */
const FEW_OF_GUEST = 8
const FEW_OF_ADDRESS = 128

/** Guests and addresses that are told apart; what goes beyond is counted. */
const MAX_KINDS = 10_000

/** Repeats that one record names one by one; the rest is a sum for each code. */
const MAX_NAMED = 100

interface Counted {
    count: number
    /** The last of them. */
    last: Denial
}

export function denials(append: (draft: Draft) => void, clock: { now(): Date; ticks(): number }): Denials {
    const isFew = { guest: few(FEW_OF_GUEST, clock.ticks), address: few(FEW_OF_ADDRESS, clock.ticks) }
    let named = new Map<string, Counted>()
    let others = new Map<string, number>()
    let since = clock.now()
    const count = (kind: string, denial: Denial) => {
        if (named.size === 0) since = clock.now()
        const known = named.get(kind)
        if (known) {
            known.count++
            known.last = denial
        } else if (named.size < MAX_NAMED) named.set(kind, { count: 1, last: denial })
        else others.set(denial.code, (others.get(denial.code) ?? 0) + 1)
    }
    const flush = () => {
        if (named.size === 0) return
        const data = {
            since: since.toISOString(),
            denials: [...named.values()].map(({ count, last }) => ({ count, ...last })),
            others: Object.fromEntries(others),
        }
        named = new Map()
        others = new Map()
        append({ kind: 'denials', subject: '', data, at: clock.now() })
    }
    const timer = setInterval(flush, INTERVAL_MS).unref()
    return {
        isFirst(denial) {
            const { code, guestId, session, peer } = denial
            const kind = `${guestId ?? session}\n${code}`
            const ofGuest = isFew.guest(kind)
            const ofAddress = isFew.address(`${networkOf(peer)}\n${code}`)
            if (ofGuest && ofAddress) return true
            count(kind, denial)
            return false
        },
        flush,
        close: () => clearInterval(timer),
    }
}

/** Says of each kind whether this is one of its first few. */
function few(most: number, ticks: () => number): (kind: string) => boolean {
    const seen = new Map<string, { readonly end: number; times: number }>()
    return (kind) => {
        const now = ticks()
        // The first in it is the first to end.
        for (const [old, { end }] of seen) {
            if (end > now) break
            seen.delete(old)
        }
        const entry = seen.get(kind)
        if (entry) return ++entry.times <= most
        if (seen.size >= MAX_KINDS) return false
        seen.set(kind, { end: now + WINDOW_MS, times: 1 })
        return true
    }
}
