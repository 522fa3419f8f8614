// Quotes as bytes, the inverse of quote.ts: for the emulator and for tests. Nothing is signed here.
// Intel TDX DCAP Quoting Library API rev 0.9, appendix 3. Little-endian; keys and signatures are big-endian.
// SPDX-License-Identifier: Apache-2.0

import { u16le, u32le } from '#core/bytes.ts'
import { BODIES, HEADER, QE_REPORT_CERTIFICATION, type QuoteParts } from './quote.ts'

/** The bytes that the attestation key signs: header and body. */
export function encodeSigned({ header, bodyType, body }: Pick<QuoteParts, 'header' | 'bodyType' | 'body'>): Buffer {
    const { rtmrs, ...rest } = body
    const [rtmr0, rtmr1, rtmr2, rtmr3] = rtmrs
    const encoded = BODIES[bodyType].encode({ ...rest, rtmr0, rtmr1, rtmr2, rtmr3 } as never)
    const front = header.version === 5 ? [u16le(bodyType), u32le(encoded.length)] : []
    return Buffer.concat([HEADER.encode(header), ...front, encoded])
}

/** The bytes of a quote, with the signatures that it is given. */
export function encodeQuote(parts: QuoteParts): Buffer {
    const { qeReport, qeReportSignature, authData, certification } = parts
    const certified = Buffer.concat([
        qeReport,
        qeReportSignature,
        u16le(authData.length),
        authData,
        u16le(certification.type),
        u32le(certification.data.length),
        certification.data,
    ])
    const signatureData = Buffer.concat([
        parts.signature,
        parts.attestationKey,
        u16le(QE_REPORT_CERTIFICATION),
        u32le(certified.length),
        certified,
    ])
    return Buffer.concat([encodeSigned(parts), u32le(signatureData.length), signatureData])
}
