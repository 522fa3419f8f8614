// LAUNCH_MEASURE: what the firmware says of a launch before the guest runs, authenticated by the session's TIK.
// AMD 55766 (Secure Encrypted Virtualization API). The form of API 0.17 and later; before it a packet of secrets is not
// bound to its launch, and nothing of that age is accepted.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes } from '#core/bytes.ts'
import { bytes, layout, u8, u32 } from '#core/layout.ts'
import { type FirmwareVersion, LEAST_API, requireFirmware } from '../chain/firmware.ts'
import { hmac256 } from './kdf.ts'

export const DIGEST_SIZE = 32

/** The measurement as hosts hand it on: base64 of these 48 bytes. */
export const LAUNCH_MEASURE = layout('launch measurement', 48, { measure: bytes(0, 32), mnonce: bytes(32, 16) })

const MESSAGE = layout('measured message', 56, {
    context: u8(0),
    apiMajor: u8(1),
    apiMinor: u8(2),
    buildId: u8(3),
    policy: u32(4),
    launchDigest: bytes(8, DIGEST_SIZE),
    mnonce: bytes(40, 16),
})

const CONTEXT = 0x04

export interface Measured extends FirmwareVersion {
    readonly policy: number
    /** SHA-256 over firmware, hashes and processors. */
    readonly launchDigest: Buffer
    /** 16 bytes that the firmware chose. */
    readonly mnonce: Buffer
}

/** What the firmware computes. @throws AttestError ERR_SEV_API, ERR_LENGTH */
export function launchMeasure(tik: Uint8Array, measured: Measured): Buffer {
    requireFirmware(measured, LEAST_API)
    return hmac256(tik, MESSAGE.encode({ ...measured, context: CONTEXT }))
}

/** The digest of those that are expected which was measured, or null. Each is compared, whichever it is. */
export function measuredDigest(
    tik: Uint8Array,
    blob: Buffer,
    state: Omit<Measured, 'launchDigest' | 'mnonce'>,
    digests: readonly Buffer[],
): Buffer | null {
    const { measure, mnonce } = LAUNCH_MEASURE.parse(blob)
    let found: Buffer | null = null
    for (const launchDigest of digests)
        if (equalBytes(launchMeasure(tik, { ...state, launchDigest, mnonce }), measure)) found = launchDigest
    return found
}
