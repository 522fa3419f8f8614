// Two streams as one: what comes from each goes to the other, as fast as that takes it, and an end is an end on the other
// side too. Not a byte is looked at.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { errnoOf, messageOf } from '#core/errors.ts'

export interface Piped {
    /** Bytes from the first to the second, and back. */
    readonly sent: number
    readonly received: number
    /** `closed` where both sides have ended; else why they were broken off. */
    readonly end: string
}

const GONE: readonly string[] = ['EPIPE', 'ECONNRESET']

/** Ends when both are closed. What one side takes no more, or says nothing at all for so long, closes both. */
export function pipe(near: Duplex, far: Duplex, idleMs: number): Promise<Piped> {
    return new Promise((resolve) => {
        const bytes = { sent: 0, received: 0 }
        let end = 'closed'
        let open = 2
        let over = false
        const breakOff = (why: string): void => {
            if (!over) end = why
            over = true
            near.destroy()
            far.destroy()
        }
        const idle = setTimeout(() => breakOff(`idle for ${idleMs / 1000} s`), idleMs)
        const join = (from: Duplex, to: Duplex, side: string, count: 'sent' | 'received'): void => {
            from.on('data', (chunk: Uint8Array) => {
                bytes[count] += chunk.length
                idle.refresh()
            })
            from.on('error', (error) => {
                const code = errnoOf(error) ?? messageOf(error)
                // Who had said all, and has hung up, does not wait for the other's goodbye.
                breakOff(from.readableEnded && GONE.includes(code) ? 'closed' : `${side}: ${code}`)
            })
            const closed = (): void => {
                // Before it had said and heard all: the other one would wait for ever.
                if (!from.readableEnded || !from.writableFinished) breakOff(`${side} broke off`)
                open--
                if (open > 0) return
                clearTimeout(idle)
                resolve({ ...bytes, end })
            }
            // It may have gone while the other was being reached.
            if (from.closed) closed()
            else from.on('close', closed).pipe(to) // an end too
        }
        join(near, far, 'guest', 'sent')
        join(far, near, 'broker', 'received')
    })
}
