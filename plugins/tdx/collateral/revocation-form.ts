// The forms of a revocation list: DER as Intel hands it out, PEM, and DER as hex text, which a PCCS answers.
// SPDX-License-Identifier: Apache-2.0

const HEX_TEXT = /^(?:[0-9a-fA-F]{2})+$/
const PEM_LIST = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----/

/** In DER, whatever its form; what is none of them is left as it is, for whoever parses it to refuse. */
export function listDer(bytes: Buffer): Buffer {
    const text = bytes.toString('latin1').trim()
    if (HEX_TEXT.test(text)) return Buffer.from(text, 'hex')
    const [, body] = PEM_LIST.exec(text) ?? []
    return body === undefined ? bytes : Buffer.from(body.replaceAll(/\s/g, ''), 'base64')
}
