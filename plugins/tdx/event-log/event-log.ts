// The event log that came with a quote: of the firmware (CCEL) or of dstack (JSON), and whether it is that of the
// quote. The log is the word of whoever sends it. What makes it more is that it replays to the registers of a quote:
// then its digests are those that were measured, in their order. Types, and data of which no digest was taken, stay its
// word.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { equalBytes, toHex } from '#core/bytes.ts'
import { tdxError } from '../errors.ts'
import type { Quote } from '../quote.ts'
import { checkLogSize, DIGEST_SIZE, type EventLog, parseCcel, RTMRS, type RtmrName } from './ccel.ts'
import { readDstackLog } from './dstack.ts'
import { EV_NO_ACTION } from './event-types.ts'

export type Registers = Readonly<Record<RtmrName, Buffer>>

/** @throws AttestError ERR_TDX_EVENT_LOG, saying what is wrong where, or what it is instead */
export function parseEventLog(raw: Buffer): EventLog {
    checkLogSize(raw)
    if (raw[0] !== OPENING_BRACKET) return parseCcel(raw)
    return { form: 'dstack', events: readDstackLog(raw) }
}

const OPENING_BRACKET = 0x5b

/** What the registers hold after these events: each is SHA-384 of its value and the digest, from zeros on. */
export function replay({ events }: Pick<EventLog, 'events'>): Registers {
    const values = Object.fromEntries(RTMRS.map((name) => [name, Buffer.alloc(DIGEST_SIZE)])) as Record<
        RtmrName,
        Buffer
    >
    for (const { register, type, digest } of events)
        if (type !== EV_NO_ACTION && register !== 'mrtd')
            values[register] = createHash('sha384').update(values[register]).update(digest).digest()
    return values
}

/**
 * The log of this quote's guest: it replays to each of its registers.
 * @throws AttestError ERR_TDX_EVENT_LOG
 */
export function checkEventLog(
    raw: Buffer,
    { body }: Pick<Quote, 'body'>,
): { readonly log: EventLog; readonly detail: string } {
    const log = parseEventLog(raw)
    const replayed = replay(log)
    for (const [index, name] of RTMRS.entries()) {
        const value = body.rtmrs[index] as Buffer
        if (!equalBytes(replayed[name], value))
            throw tdxError(
                'ERR_TDX_EVENT_LOG',
                `${name}: the event log replays to ${toHex(replayed[name])}, the quote has ${toHex(value)}`,
                {
                    hint: 'what extends a register without an entry in the log (IMA, an application) leaves the log behind: send the evidence without it, and judge the registers',
                },
            )
    }
    const proven = log.events.filter((event) => event.proven).length
    return { log, detail: `${log.events.length} events replay to RTMR0 to RTMR3, ${proven} with what was measured` }
}
