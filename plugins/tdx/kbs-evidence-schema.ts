// TDX evidence in the key broker protocol's JSON form, as it is received: every member's type and length is checked
// before it becomes a quote and an event log.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { fromBase64 } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { issues } from '#core/schema.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import type { Evidence } from '#drivers/driver.ts'
import { tdxError } from './errors.ts'
import { MAX_QUOTE_SIZE } from './quote.ts'
import { evidenceOf } from './recognise.ts'
import { TEE } from './tee.ts'

const base64 = (bytes: number) => z.string().check(z.maxLength(4 * Math.ceil(bytes / 3)))

const EVIDENCE_JSON = z.strictObject({
    cc_eventlog: z.optional(z.nullable(base64(MAX_EVENT_LOG_SIZE))),
    quote: base64(MAX_QUOTE_SIZE),
})

/**
 * Evidence from its JSON form. Null: it has no `quote`, or one beside an `hcl_report`, so it is another technology's.
 * @throws AttestError ERR_TDX_EVIDENCE naming the member, ERR_TDX_QUOTE, ERR_TDX_CERTIFICATION
 */
export function fromKbs(primary: unknown): Evidence | null {
    if (typeof primary !== 'object' || primary === null || !Object.hasOwn(primary, 'quote')) return null
    if (Object.hasOwn(primary, 'hcl_report')) return null
    const result = EVIDENCE_JSON.safeParse(primary)
    if (!result.success) throw tdxError('ERR_TDX_EVIDENCE', `TDX evidence: ${issues(result.error)}`)
    const { cc_eventlog, quote } = result.data
    const { report } = evidenceOf(decode(quote, 'quote'))
    return cc_eventlog ? { tee: TEE, report, eventLog: decode(cc_eventlog, 'cc_eventlog') } : { tee: TEE, report }
}

function decode(text: string, name: string): Buffer {
    try {
        return fromBase64(text, name)
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw tdxError('ERR_TDX_EVIDENCE', `TDX evidence: ${cause.message}`, { cause })
    }
}
