// The quoting enclave: its report, which the PCK signs and which names the attestation key, and whether it is the one
// that Intel names. Intel TDX DCAP Quoting Library API rev 0.9, appendix 3; facts of the identity: PCS API version 4.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto'
import { equalBytes, isZero, toHex } from '#core/bytes.ts'
import { fetchHint } from './collateral/collateral.ts'
import type { QeIdentity } from './collateral/schema.ts'
import { tdxError } from './errors.ts'
import { QE_REPORT, type QeReport, type Quote } from './quote.ts'

/** Intel's quoting enclave for TDs: what no update of it changes. */
export const TD_QE = {
    mrSigner: 'dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5',
    isvProdId: 2,
} as const

/** In the first byte of an enclave's ATTRIBUTES: the host may read and write it. */
const SGX_DEBUG = 0x02

/**
 * The report of the quoting enclave, which the PCK has signed and which has this attestation key in it.
 * @throws AttestError ERR_TDX_QE
 */
export function checkQeReport(quote: Quote, pck: KeyObject): QeReport {
    const { qeReport, qeReportSignature, attestationKey, authData } = quote
    if (!verify('sha256', qeReport, { key: pck, dsaEncoding: 'ieee-p1363' }, qeReportSignature))
        throw tdxError('ERR_TDX_QE', 'the PCK has not signed the report of the quoting enclave')
    const report = QE_REPORT.parse(qeReport)
    const digest = hash('sha256', Buffer.concat([attestationKey, authData]), 'buffer')
    if (!equalBytes(report.reportData.subarray(0, 32), digest) || !isZero(report.reportData.subarray(32)))
        throw tdxError('ERR_TDX_QE', 'the report of the quoting enclave names another attestation key')
    if (((report.attributes[0] ?? 0) & SGX_DEBUG) !== 0)
        throw tdxError('ERR_TDX_QE', 'the quoting enclave is a debug enclave')
    return report
}

/** The attestation key, ready. @throws AttestError ERR_TDX_SIGNATURE where it is no point of P-256 */
export function attestationKeyOf({ attestationKey }: Quote): KeyObject {
    const x = attestationKey.toString('base64url', 0, 32)
    const y = attestationKey.toString('base64url', 32)
    try {
        return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' })
    } catch (cause) {
        throw tdxError('ERR_TDX_SIGNATURE', 'the attestation key is no point of P-256', { cause })
    }
}

/**
 * Without an identity of Intel's: a PCK certifies any enclave of its platform, so that at least signer and product have
 * to be those of the TD quoting enclave, as every identity of it has them.
 * @throws AttestError ERR_TDX_COLLATERAL_MISSING
 */
export function checkKnownQe({ mrSigner, isvProdId }: QeReport): void {
    if (toHex(mrSigner) === TD_QE.mrSigner && isvProdId === TD_QE.isvProdId) return
    throw tdxError(
        'ERR_TDX_COLLATERAL_MISSING',
        `no identity of the quoting enclave was given, and this one is not Intel's: expected MRSIGNER ${TD_QE.mrSigner}, ISVPRODID ${TD_QE.isvProdId}, got ${toHex(mrSigner)}, ${isvProdId}`,
        {
            hint: fetchHint(),
        },
    )
}

/** @throws AttestError ERR_TDX_QE */
export function checkQeIdentity(report: QeReport, identity: QeIdentity): void {
    const { miscselect, miscselectMask, attributes, attributesMask, mrsigner, isvprodid } = identity
    const miscSelect = Buffer.alloc(4)
    miscSelect.writeUInt32LE(report.miscSelect)
    wantMasked(miscSelect, miscselect, miscselectMask, 'MISCSELECT')
    wantMasked(report.attributes, attributes, attributesMask, 'ATTRIBUTES')
    if (!equalBytes(report.mrSigner, mrsigner)) throw differs('MRSIGNER', toHex(mrsigner), toHex(report.mrSigner))
    if (report.isvProdId !== isvprodid) throw differs('ISVPRODID', `${isvprodid}`, `${report.isvProdId}`)
}

function wantMasked(got: Buffer, expected: Buffer, mask: Buffer, name: string): void {
    const masked = Buffer.from(got.map((byte, i) => byte & (mask[i] ?? 0)))
    if (!equalBytes(masked, expected)) throw differs(name, toHex(expected), `${toHex(got)} (mask ${toHex(mask)})`)
}

const differs = (name: string, expected: string, got: string) =>
    tdxError('ERR_TDX_QE', `${name} of the quoting enclave: expected ${expected}, got ${got}`)
