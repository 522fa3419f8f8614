// AMD's service for the keys of chips: the signed CEK of one, by the chip's id. It answers a few requests a minute, and the
// answer never changes: keep it. What it says is believed for AMD's signature on it, not for the connection.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { parseOrigin } from '#core/origin.ts'
import type { HttpGet } from '#evidence/collateral-service.ts'

export const AMD_SERVICE = 'https://kdsintf.amd.com'

/** More than a certificate has. */
const MAX_BYTES = 4096

/** From AMD, or from an origin that answers the same. @throws AttestError ERR_URL, ERR_HTTP_* */
export async function fetchCek(get: HttpGet, chipId: Buffer, service = AMD_SERVICE): Promise<Buffer> {
    const { origin } = parseOrigin(service)
    const { status, body } = await get(`${origin}/cek/id/${toHex(chipId)}`, { maxBytes: MAX_BYTES })
    if (status === 200) return body
    if (status === 429)
        throw coreError('ERR_HTTP_CONNECT', `${origin} answers 429: too many requests`, {
            hint: 'wait a minute; keep what it answers with --save-cek',
        })
    throw coreError('ERR_HTTP_RESPONSE', `${origin} has no key for this chip: it answers ${status}`, {
        hint: 'the id is that of QMP query-sev-capabilities (cpu0-id), all 64 bytes of it',
    })
}
