// AMD's service for the keys of chips: the signed CEK of one, by the chip's id. It answers a few requests a minute, and the
// answer never changes: keep it. What it says is believed for AMD's signature on it, not for the connection.
// SPDX-License-Identifier: Apache-2.0

import { getCACertificates } from 'node:tls'
import { toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { openSession, parseOrigin } from '#core/http.ts'

export const AMD_SERVICE = 'https://kdsintf.amd.com'

const TIMEOUT_MS = 20_000

/** More than a certificate has. */
const MAX_BYTES = 4096

/** @throws AttestError ERR_HTTP_CONNECT, ERR_HTTP_TIMEOUT, ERR_HTTP_TLS, ERR_HTTP_RESPONSE, ERR_URL */
export async function fetchCek(chipId: Buffer, service: string): Promise<Buffer> {
    const session = openSession(parseOrigin(service), { trust: { ca: getCACertificates('default').join('\n') } })
    try {
        const { status, body } = await session.request({
            method: 'GET',
            path: `/cek/id/${toHex(chipId)}`,
            maxBytes: MAX_BYTES,
            signal: AbortSignal.timeout(TIMEOUT_MS),
        })
        if (status === 200) return body
        if (status === 429)
            throw coreError('ERR_HTTP_CONNECT', `${session.origin} answers 429: too many requests`, {
                hint: 'wait a minute; keep what it answers with --save-cek',
            })
        throw coreError('ERR_HTTP_RESPONSE', `${session.origin} has no key for this chip: it answers ${status}`, {
            hint: 'the id is that of QMP query-sev-capabilities (cpu0-id), all 64 bytes of it',
        })
    } finally {
        session.close()
    }
}
