// The binary form in which people have TDX evidence: a quote, with or without what pads it. A quote of SGX is none.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { Mistaken } from '#evidence/verifier.ts'
import { tdxError } from './errors.ts'
import { INTEL_QE_VENDOR, parseQuote, TEE_TYPE_SGX, TEE_TYPE_TDX } from './quote.ts'
import { TEE } from './tee.ts'

export const FORMS = 'a TDX quote (version 4 or 5)'

/**
 * Evidence from its bytes. Null: they do not begin as a quote of a TD does.
 * @throws AttestError ERR_TDX_QUOTE, ERR_TDX_CERTIFICATION, ERR_TDX_EVIDENCE
 */
export function recognise(input: Buffer): { evidence: Evidence; form: string } | null {
    if (isHclReport(input))
        throw tdxError('ERR_TDX_EVIDENCE', "this is Azure's HCL report of a TD, which is no quote", {
            hint: "its TDREPORT are the 1024 bytes from 32 on: Azure's metadata service makes a quote of that",
        })
    if (!looksLikeQuote(input)) return null
    const evidence = evidenceOf(input)
    const padding = input.length - evidence.report.length
    return { evidence, form: padding > 0 ? `TDX quote, and ${padding} bytes behind it (ignored)` : 'TDX quote' }
}

/** A quote without what is behind it: nobody signed that. @throws AttestError ERR_TDX_QUOTE, ERR_TDX_CERTIFICATION */
export const evidenceOf = (input: Buffer): Evidence => ({
    tee: TEE,
    report: Buffer.from(input.subarray(0, parseQuote(input).size)),
})

/** Of Intel as well, and none that speaks for a TD elsewhere. */
export const MISTAKEN: readonly Mistaken[] = [
    { what: 'an Intel SGX quote', is: isSgxQuote },
    {
        what: 'a TDREPORT of Intel TDX, which only its own machine can check',
        is: (bytes) => bytes[0] === TEE_TYPE_TDX && bytes.length === 1024,
    },
]

/** The type of attestation key of every quote there is: ECDSA over P-256. */
const ECDSA_P256 = 2

function isSgxQuote(input: Buffer): boolean {
    if (input.length < 8 || ![3, 4, 5].includes(input.readUInt16LE(0))) return false
    return input.readUInt16LE(2) === ECDSA_P256 && input.readUInt32LE(4) === TEE_TYPE_SGX
}

// A TD's by its TEE type; or of a version that is none yet, where the vendor shows what it is.
function looksLikeQuote(input: Buffer): boolean {
    if (input.length < 28) return false
    const version = input.readUInt16LE(0)
    if (input.readUInt32LE(4) !== TEE_TYPE_TDX) return false
    return version === 4 || version === 5 || toHex(input.subarray(12, 28)) === toHex(INTEL_QE_VENDOR)
}

// SNP's come with the same header: the report within says whose it is.
function isHclReport(input: Buffer): boolean {
    return input.length > 32 && input.toString('latin1', 0, 4) === 'HCLA' && input[32] === TEE_TYPE_TDX
}
