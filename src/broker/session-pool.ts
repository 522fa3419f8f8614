// The sessions that are alive, and who may hold how many of them. Hardware that is genuine is cheap to rent: a guest that no
// reference set knows gets a part of the pool, one launch of a guest a few sessions, one address its share. Nobody's
// session is ended to make room for somebody else.
// SPDX-License-Identifier: Apache-2.0

import { shares } from './shares.ts'

/** Whose session it is. */
export interface Holder {
    /** What names this launch of this guest, or null where its technology has no such thing. */
    readonly guestId: string | null
    /** Whether a reference set knew it when the session began. */
    readonly known: boolean
    readonly address: string
    /** Roughly, of what is kept of it. */
    readonly bytes: number
}

export interface SessionPool<T> {
    /** Whether there is room for a session from this address, whoever proves to be there. */
    hasRoom(address: string): boolean
    /** False where there is no room for this holder. */
    add(key: string, session: T, holder: Holder): boolean
    get(key: string): T | undefined
    /** How many are alive. */
    readonly size: number
}

export interface PoolOptions {
    readonly maxSessions: number
    readonly maxSessionsPerAddress: number
    /** How long each lasts. */
    readonly lifetimeMs: number
    /** Milliseconds of a clock that nobody sets. */
    readonly ticks: () => number
}

/** Of one launch of a guest; one that begins more ends its own oldest. */
export const MAX_OF_GUEST = 32

/** What one place of the pool holds; a session that is larger takes several. */
export const PLACE_BYTES = 16 << 10

const placesOf = ({ bytes }: Holder): number => Math.max(1, Math.ceil(bytes / PLACE_BYTES))

/** Of the pool and of an address's share: for guests that no reference set knows. */
const STRANGERS = 1 / 4

export function sessionPool<T>(options: PoolOptions): SessionPool<T> {
    const { maxSessions: most, maxSessionsPerAddress: mostOfOne, lifetimeMs, ticks } = options
    const part = (count: number) => Math.max(1, Math.floor(count * STRANGERS))
    const all = shares({ most, mostOfOne })
    const strangers = shares({ most: part(most), mostOfOne: part(mostOfOne) })
    // All last equally long, so that the first in it is the first to end.
    const alive = new Map<string, { readonly session: T; readonly holder: Holder; readonly end: number }>()
    const ofGuest = new Map<string, Set<string>>()

    const drop = (key: string): void => {
        const entry = alive.get(key)
        if (!entry) return
        const { guestId, known, address } = entry.holder
        const places = placesOf(entry.holder)
        alive.delete(key)
        all.give(address, places)
        if (!known) strangers.give(address, places)
        const own = guestId === null ? undefined : ofGuest.get(guestId)
        own?.delete(key)
        if (guestId !== null && own?.size === 0) ofGuest.delete(guestId)
    }
    const sweep = (): void => {
        const now = ticks()
        for (const [key, { end }] of alive) {
            if (end > now) break
            drop(key)
        }
    }
    const fits = (holder: Holder): boolean => {
        const { known, address } = holder
        const places = placesOf(holder)
        return all.fits(address, places) && (known || strangers.fits(address, places))
    }

    return {
        hasRoom(address) {
            sweep()
            return all.fits(address, 1)
        },
        add(key, session, holder) {
            sweep()
            const { guestId, known, address } = holder
            const own = guestId === null ? undefined : ofGuest.get(guestId)
            const [oldest] = own ?? []
            if (own && oldest !== undefined && (own.size >= MAX_OF_GUEST || !fits(holder))) drop(oldest)
            if (!fits(holder)) return false
            all.take(address, placesOf(holder))
            if (!known) strangers.take(address, placesOf(holder))
            alive.set(key, { session, holder, end: ticks() + lifetimeMs })
            if (guestId !== null) ofGuest.set(guestId, (ofGuest.get(guestId) ?? new Set()).add(key))
            return true
        },
        get(key) {
            const entry = alive.get(key)
            return entry && entry.end > ticks() ? entry.session : undefined
        },
        get size() {
            sweep()
            return alive.size
        },
    }
}
