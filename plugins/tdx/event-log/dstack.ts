// The event log of dstack as JSON: what firmware and kernel measured, and in RTMR3 what dstack tells of an application.
// The digest of such a runtime event is SHA-384 of its type (little-endian), a colon, its name, a colon, its payload; a
// guest may leave it out then. Of all other events the digest alone counts.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import * as z from 'zod/mini'
import { u32le } from '#core/bytes.ts'
import { parseJson } from '#core/json.ts'
import { issues } from '#core/schema.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import { tdxError } from '../errors.ts'
import { type LoggedEvent, MAX_EVENTS, RTMRS, type RtmrName, withProof } from './ccel.ts'
import { DSTACK_RUNTIME_EVENT } from './event-types.ts'

const hex = z.string().check(z.regex(/^(?:[0-9a-fA-F]{2})*$/, 'expected hex'))

const LOG = z.array(
    z.object({
        imr: z.int().check(z.gte(0), z.lte(RTMRS.length - 1)),
        event_type: z.int().check(z.gte(0), z.lte(0xffffffff)),
        digest: z.string().check(z.regex(/^(?:[0-9a-fA-F]{96})?$/, 'expected 48 bytes in hex, or nothing')),
        event: z.string(),
        event_payload: hex,
    }),
)

/** Of an event, itself among them, and room for those that dstack may add. */
const MEMBERS = 16

/** @throws AttestError ERR_TDX_EVENT_LOG, ERR_JSON */
export function readDstackLog(raw: Buffer): LoggedEvent[] {
    const limits = { maxBytes: MAX_EVENT_LOG_SIZE, maxValues: MAX_EVENTS * MEMBERS }
    const value = parseJson(raw, { title: 'event log', ...limits })
    // Before each of them is looked at.
    if (Array.isArray(value) && value.length > MAX_EVENTS)
        throw tdxError('ERR_TDX_EVENT_LOG', `event log of dstack: ${value.length} events, at most ${MAX_EVENTS}`)
    const result = LOG.safeParse(value)
    if (!result.success) throw tdxError('ERR_TDX_EVENT_LOG', `event log of dstack: ${issues(result.error)}`)
    return result.data.map(({ imr, event_type: type, digest, event, event_payload }, index) => {
        const register = RTMRS[imr] as RtmrName
        const payload = Buffer.from(event_payload, 'hex')
        if (type === DSTACK_RUNTIME_EVENT) {
            const data = Buffer.concat([u32le(type), Buffer.from(`:${event}:`), payload])
            const own = createHash('sha384').update(data).digest()
            const told = digest === '' ? own : Buffer.from(digest, 'hex')
            return { register, type, data, digest: told, proven: told.equals(own) }
        }
        if (digest === '') throw tdxError('ERR_TDX_EVENT_LOG', `event log of dstack: event ${index + 1} has no digest`)
        // The name is dstack's, for a person: what was measured is the payload, or not in the log.
        const data = payload.length > 0 ? payload : Buffer.from(event)
        return withProof({ register, type, data, digest: Buffer.from(digest, 'hex') })
    })
}
