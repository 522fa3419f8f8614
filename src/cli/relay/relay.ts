// The relay: connections of guests that have no network, carried to a broker. A pipe that knows nothing of what it carries:
// TLS is between the guest and the broker, and whoever runs this can break it off, and no more.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { deadline } from '#core/wait.ts'
import { formatAddress, type RelayAddress, type Target } from './addresses.ts'
import { type Caller, listen, reach } from './listen.ts'
import { type Piped, pipe } from './pipe.ts'

export interface RelayOptions {
    readonly listen: RelayAddress
    readonly to: Target
    /** Guests that may call; null for all of them. */
    readonly allowedCids: readonly number[] | null
    readonly maxConnections: number
    /** Of these, for one guest, where vsock says which it is: none keeps the others out. */
    readonly maxPerGuest: number
    readonly connectTimeoutMs: number
    readonly idleTimeoutMs: number
    readonly log: Logger
}

export interface Relay {
    /** Where it listens. */
    readonly address: string
    /** Takes no more connections, and gives those that there are so long to end. */
    stop(graceMs: number): Promise<void>
}

/** Connections that were turned away are told of once in this time, with how many there were. */
const TURNED_AWAY_EVERY_MS = 10_000

/** @throws AttestError ERR_LISTEN */
export async function startRelay(options: RelayOptions): Promise<Relay> {
    const { log, to, idleTimeoutMs, connectTimeoutMs } = options
    const open = new Map<Duplex, Caller>()
    const done = Promise.withResolvers<void>()
    let stopping = false
    const turnAway = turnedAway(log)
    let number = 0

    const accepted = async (near: Duplex, caller: Caller): Promise<void> => {
        near.on('error', () => undefined) // what it is stands in the line below
        const refusal = refuse(caller, open, options)
        if (refusal !== null) {
            near.destroy()
            return turnAway(caller, refusal)
        }
        open.set(near, caller)
        const connection = ++number
        const began = performance.now()
        const piped = await carry(near)
        open.delete(near)
        if (stopping && open.size === 0) done.resolve()
        const seconds = Math.round(performance.now() - began) / 1000
        const fields = { connection, from: caller.name, to: formatAddress(to), seconds, ...piped }
        if (piped.end === 'closed') log.info('connection', fields)
        else log.warn('connection', fields)
    }

    async function carry(near: Duplex): Promise<Piped> {
        let far: Duplex
        try {
            far = await reachInTime()
        } catch (error) {
            near.destroy()
            return { sent: 0, received: 0, end: `broker: ${messageOf(error) || errnoOf(error)}` }
        }
        return pipe(near, far, idleTimeoutMs)
    }

    async function reachInTime(): Promise<Duplex> {
        using signal = deadline(connectTimeoutMs, 'connecting')
        return await reach(to, signal) // awaited here: the deadline ends with this block
    }

    const listener = await listen(options.listen, {
        accepted: (near, caller) => void accepted(near, caller),
        failed: (error) => log.warn('cannot accept a connection', { why: messageOf(error) }),
    })
    return {
        address: listener.address,
        async stop(graceMs) {
            await listener.close()
            stopping = true
            if (open.size === 0) return
            const grace = setTimeout(() => {
                for (const near of open.keys()) near.destroy()
            }, graceMs)
            await done.promise
            clearTimeout(grace)
        },
    }
}

/** Why somebody is not let in; null for whoever is. */
function refuse({ cid }: Caller, open: ReadonlyMap<Duplex, Caller>, options: RelayOptions): string | null {
    const { allowedCids, maxConnections, maxPerGuest } = options
    if (allowedCids && (cid === null || !allowedCids.includes(cid))) return 'this guest may not call'
    if (open.size >= maxConnections) return `${maxConnections} connections are open`
    if (cid === null) return null
    const own = [...open.values()].filter((caller) => caller.cid === cid).length
    return own >= maxPerGuest ? `this guest has ${maxPerGuest} connections open` : null
}

/** Whoever knocks a thousand times a second does not fill the log. */
function turnedAway(log: Logger) {
    let silentUntil = -Infinity
    let more = 0
    return ({ name }: Caller, why: string): void => {
        if (performance.now() < silentUntil) return void more++
        log.warn('connection turned away', { from: name, why, ...(more > 0 ? { othersBefore: more } : {}) })
        silentUntil = performance.now() + TURNED_AWAY_EVERY_MS
        more = 0
    }
}
