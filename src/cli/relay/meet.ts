// Two relays that meet, where nobody can connect to the broker: that beside the broker calls the one beside the guests and
// leaves connections with it, and each guest gets one of them. Who leaves a connection says nothing first, so the first byte
// that comes through it is a guest's: no protocol, and still not a byte is looked at.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { Logger } from '#core/log.ts'
import { deadline, pause } from '#core/wait.ts'
import type { Listener } from '#drivers/linux/stream-socket.ts'
import { formatAddress, type RelayAddress, type Target } from './addresses.ts'
import { type Listening, listen, reach } from './listen.ts'

/** Connections that one relay leaves with the other. */
const LEFT = 8

/** What waits longer is exchanged: whatever lies between the two may have forgotten it, and tells nobody. */
const RENEW_MS = 60_000

/** What has waited so long goes to no guest: it could be exchanged at that moment. */
const STALE_MS = 45_000

/** Of all that call: the newest are kept, the other relay leaves fewer. */
const MOST_WAITING = 64

/** After a guest has got one; and the least and the most after one that failed. */
const NEXT_MS = 20
const RETRY_MS = { least: 500, most: 30_000 } as const

/** Connections that another relay leaves here. */
export interface Meeting extends Listener {
    /** The newest of them, or the next that is left. @throws the signal's reason */
    take(signal: AbortSignal): Promise<Duplex>
}

/** @throws AttestError ERR_LISTEN */
export async function awaitRelay(address: RelayAddress, failed: (error: Error) => void): Promise<Meeting> {
    const waiting: Waiting[] = []
    const guests: ((stream: Duplex) => void)[] = []
    const remove = (left: Waiting): void => {
        const at = waiting.indexOf(left)
        if (at >= 0) waiting.splice(at, 1)
    }
    const listener = await listen(address, {
        failed,
        accepted(stream) {
            stream.on('error', () => undefined) // its end says enough
            const guest = guests.shift()
            if (guest) return guest(stream)
            const left = leave(stream, remove)
            waiting.push(left)
            if (waiting.length > MOST_WAITING) waiting[0]?.drop()
        },
    })
    return {
        address: listener.address,
        async take(signal) {
            await nextTurn() // what the kernel knows to have ended is gone then
            for (let left = waiting.pop(); left; left = waiting.pop()) {
                const stream = left.take()
                if (stream) return stream
            }
            signal.throwIfAborted()
            const { promise, resolve, reject } = Promise.withResolvers<Duplex>()
            const end = (): void => {
                guests.splice(guests.indexOf(resolve), 1)
                reject(signal.reason)
            }
            guests.push(resolve)
            signal.addEventListener('abort', end, { once: true })
            try {
                return await promise
            } finally {
                signal.removeEventListener('abort', end)
            }
        },
        async close() {
            await listener.close()
            for (const left of [...waiting]) left.drop()
        },
    }
}

interface Waiting {
    /** Null: it waited too long. */
    take(): Duplex | null
    drop(): void
}

/** One that waits. Its end is heard of; one that speaks first is no relay. */
function leave(stream: Duplex, gone: (left: Waiting) => void): Waiting {
    const since = performance.now()
    const drop = (): void => {
        gone(left)
        stream.destroy()
    }
    const left: Waiting = {
        take() {
            stream.off('data', drop).off('end', drop).off('close', drop).pause()
            if (performance.now() - since < STALE_MS && !stream.destroyed) return stream
            stream.destroy()
            return null
        },
        drop,
    }
    stream.on('data', drop).on('end', drop).on('close', drop)
    return left
}

/** Leaves connections with another relay, and accepts each through which a guest speaks. */
export function callRelay(target: Target, { accepted }: Listening, log: Logger): Listener {
    const ending = new AbortController()
    const name = formatAddress(target)
    let reached = true
    const say = (why: string | null): void => {
        if (reached === (why === null)) return
        reached = why === null
        if (why === null) log.info('the other relay is there again', { relay: name })
        else log.warn('cannot leave connections with the other relay: it is tried again', { relay: name, why })
    }
    const leaveOne = async (): Promise<void> => {
        let retry: number = RETRY_MS.least
        while (!ending.signal.aborted) {
            const began = performance.now()
            let next = NEXT_MS
            try {
                const stream = await reachSoon(target, ending.signal)
                say(null)
                if (await spoken(stream, ending.signal)) accepted(stream, { name: `relay ${name}`, cid: null })
                // One that the other relay did not keep is as good as none.
                else if (performance.now() - began < RETRY_MS.least) next = retry
            } catch (error) {
                if (ending.signal.aborted) return
                say(messageOf(error) || String(errnoOf(error)))
                next = retry
            }
            retry = next === NEXT_MS ? RETRY_MS.least : Math.min(2 * retry, RETRY_MS.most)
            await pause(next, ending.signal).catch(() => undefined)
        }
    }
    const all = Promise.all(Array.from({ length: LEFT }, leaveOne))
    return {
        address: name,
        async close() {
            ending.abort()
            await all
        },
    }
}

async function reachSoon(target: Target, ending: AbortSignal): Promise<Duplex> {
    using signal = deadline(RETRY_MS.most, 'connecting', ending)
    return await reach(target, signal) // awaited here: the deadline ends with this block
}

/** Whether a guest speaks through it before it is exchanged. What is not spoken through is closed. */
function spoken(stream: Duplex, ending: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
        const over = (): void => {
            clearTimeout(timer)
            stream.off('readable', over).off('close', over)
            ending.removeEventListener('abort', over)
            const speaks = stream.readableLength > 0 && !ending.aborted
            if (!speaks) stream.destroy()
            resolve(speaks)
        }
        const timer = setTimeout(over, RENEW_MS)
        stream
            .on('error', () => undefined)
            .on('readable', over)
            .on('close', over)
        ending.addEventListener('abort', over)
    })
}
