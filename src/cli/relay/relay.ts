// The relay: connections of guests that have no network, carried to a broker. A pipe that knows nothing of what it carries:
// TLS is between the guest and the broker, and whoever runs this can break it off, and no more.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { deadline } from '#core/wait.ts'
import type { Listener } from '#drivers/linux/stream-socket.ts'
import { type Far, formatAddress, type Near } from './addresses.ts'
import { type Caller, type Listening, listen, reach } from './listen.ts'
import { awaitRelay, callRelay } from './meet.ts'
import { type Piped, pipe } from './pipe.ts'

export interface RelayOptions {
    readonly near: Near
    readonly far: Far
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
    /** Where guests come from. */
    readonly from: string
    /** Where the broker is. */
    readonly to: string
    /** Takes no more connections, and gives those that there are so long to end. */
    stop(graceMs: number): Promise<void>
}

/** Connections that were turned away are told of once in this time, with how many there were. */
const TURNED_AWAY_EVERY_MS = 10_000

/** @throws AttestError ERR_LISTEN */
export async function startRelay(options: RelayOptions): Promise<Relay> {
    const { log, near, far, idleTimeoutMs, connectTimeoutMs } = options
    const open = new Map<Duplex, Caller>()
    const done = Promise.withResolvers<void>()
    let stopping = false
    const turnAway = turnedAway(log)
    const failed = (error: Error): void => log.warn('cannot accept a connection', { why: messageOf(error) })
    const broker = await brokerOf(far, failed)
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
        const fields = { connection, from: caller.name, to: broker.name, seconds, ...piped }
        if (piped.end === 'closed') log.info('connection', fields)
        else log.warn('connection', fields)
    }

    async function carry(near: Duplex): Promise<Piped> {
        let far: Duplex
        try {
            far = await reachInTime(near)
        } catch (error) {
            const end = near.destroyed ? 'guest broke off' : `broker: ${messageOf(error) || errnoOf(error)}`
            near.destroy()
            return { sent: 0, received: 0, end }
        }
        return pipe(near, far, idleTimeoutMs)
    }

    // For nobody but the one who waits for it: when it is told to stop, that one is gone.
    async function reachInTime(near: Duplex): Promise<Duplex> {
        const gone = new AbortController()
        near.once('close', () => gone.abort())
        using signal = deadline(connectTimeoutMs, broker.reaching, gone.signal)
        return await broker.reach(signal) // awaited here: the deadline ends with this block
    }

    const listener = await listenTo(
        near,
        { accepted: (stream, caller) => void accepted(stream, caller), failed },
        log,
    ).catch(async (error: unknown) => {
        await broker.close()
        throw error
    })
    return {
        from: listener.address,
        to: broker.name,
        async stop(graceMs) {
            await listener.close()
            stopping = true
            if (open.size > 0) {
                const grace = setTimeout(() => {
                    for (const stream of open.keys()) stream.destroy()
                }, graceMs)
                await done.promise
                clearTimeout(grace)
            }
            await broker.close()
        },
    }
}

async function listenTo(near: Near, listening: Listening, log: Logger): Promise<Listener> {
    return 'listen' in near ? listen(near.listen, listening) : callRelay(near.call, listening, log)
}

interface Broker {
    readonly name: string
    /** What is being done while it is reached. */
    readonly reaching: string
    /** @throws an error of the system call, the signal's reason */
    reach(signal: AbortSignal): Promise<Duplex>
    close(): Promise<void>
}

/** @throws AttestError ERR_LISTEN */
async function brokerOf(far: Far, failed: (error: Error) => void): Promise<Broker> {
    if ('to' in far) {
        const reachIt = (signal: AbortSignal): Promise<Duplex> => reach(far.to, signal)
        return { name: formatAddress(far.to), reaching: 'connecting', reach: reachIt, close: async () => undefined }
    }
    const { address, take, close } = await awaitRelay(far.await, failed)
    return { name: `a relay that calls ${address}`, reaching: 'waiting for the other relay', reach: take, close }
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
