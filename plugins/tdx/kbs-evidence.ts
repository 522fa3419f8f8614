// TDX evidence in the key broker protocol's JSON form (KBS attestation protocol 0.4.0): the quote, and the event log of
// the guest's firmware, both in base64.
// This is the sending half, which a guest runs on the way to its disk; what is received is kbs-evidence-schema.ts.
// SPDX-License-Identifier: Apache-2.0

import { toBase64 } from '#core/bytes.ts'
import type { Evidence } from '#drivers/driver.ts'

export interface EvidenceJson {
    readonly cc_eventlog: string | null
    readonly quote: string
}

export const toKbs = ({ report, eventLog }: Evidence): EvidenceJson => ({
    cc_eventlog: eventLog ? toBase64(eventLog) : null,
    quote: toBase64(report),
})
