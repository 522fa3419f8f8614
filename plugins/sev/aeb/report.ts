// The report of ATTESTATION, which a host can ask for while a guest runs. AMD 55766 (Secure Encrypted Virtualization API).
// Little-endian, 208 bytes. It says what some guest was launched as: the host chooses which guest, and the nonce.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import { bytes, layout, type Parsed, u32, zero } from '#core/layout.ts'
import { ALGORITHMS, EC_SIGNATURE_SIZE, verifySignature } from '../chain/algorithms.ts'
import { USAGES } from '../chain/certs.ts'
import { sevError } from '../errors.ts'

export const REPORT_SIZE = 208

export const REPORT = layout('ATTESTATION report', REPORT_SIZE, {
    mnonce: bytes(0x00, 16),
    launchDigest: bytes(0x10, 32),
    policy: u32(0x30),
    sigUsage: u32(0x34),
    sigAlgo: u32(0x38),
    reserved3c: zero(0x3c, 4),
    signature: bytes(0x40, EC_SIGNATURE_SIZE),
})

/** What the signature is over. */
export const signedPart = (raw: Uint8Array): Uint8Array => raw.subarray(0, REPORT.fields.sigUsage.offset)

export type Report = Parsed<typeof REPORT.fields>

/**
 * Exactly one report; what the signature does not cover has the only values that it may have.
 * @throws AttestError ERR_LENGTH, ERR_RESERVED, ERR_SEV_REPORT
 */
export function parseReport(raw: Uint8Array): Report {
    const report = REPORT.parse(raw)
    const { sigUsage, sigAlgo } = report
    if (sigUsage !== USAGES.PEK)
        throw sevError('ERR_SEV_REPORT', `signed by a key of usage 0x${sigUsage.toString(16)}, expected PEK`)
    if (sigAlgo !== ALGORITHMS.ECDSA_SHA256.id)
        throw sevError('ERR_SEV_REPORT', `signed by the algorithm 0x${sigAlgo.toString(16)}, expected ECDSA_SHA256`)
    return report
}

/** @throws AttestError ERR_SEV_SIGNATURE */
export function verifyReport(raw: Uint8Array, pek: KeyObject): Report {
    const report = parseReport(raw)
    if (verifySignature(signedPart(raw), report.signature, 'ECDSA_SHA256', pek)) return report
    throw sevError('ERR_SEV_SIGNATURE', 'the report is not signed by the PEK of this platform')
}
