// The proof of possession: what a guest of SEV shows that holds the key of its launch. No processor signs it: the broker
// that validated the launch has made the key, and put it into this guest alone.
//   HMAC-SHA-384, key = HKDF-SHA-384(key of the launch, no salt, `guest-attest/sev-pop/v1`, 48 bytes)
//   over the launch id ‖ report data, as wide as every technology has it: the handshake's digest, and zeros behind
// SPDX-License-Identifier: Apache-2.0

import { createHmac, hkdfSync } from 'node:crypto'
import { equalBytes, type Secret, secret, wantLength, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { bytes, layout, text } from '#core/layout.ts'
import { CLIENT_KEY_SIZE, LAUNCH_ID_SIZE, REPORT_DATA_SIZE } from '#core/sizes.ts'
import { sevError } from './errors.ts'

const LABEL = 'guest-attest/sev-pop/v1'

export const MAC_SIZE = 48

const MAGIC = 'SEVPOP01'

export const POSSESSION = layout('proof of possession', 136, {
    magic: text(0, MAGIC.length),
    launchId: bytes(8, LAUNCH_ID_SIZE),
    /** 64 bytes. */
    reportData: bytes(24, REPORT_DATA_SIZE),
    mac: bytes(88, MAC_SIZE),
})

export type Possession = ReturnType<typeof POSSESSION.parse>

/** The proof that binds this report data. The key stays the caller's. */
export function provePossession(key: Secret, launchId: Buffer, reportData: Buffer): Buffer {
    return encodePossession({ launchId, reportData, mac: macOf(key, launchId, reportData) })
}

export const encodePossession = (proof: Omit<Possession, 'magic'>): Buffer =>
    POSSESSION.encode({ magic: MAGIC, ...proof })

/** @throws AttestError ERR_SEV_POSSESSION */
export function parsePossession(proof: Buffer): Possession {
    try {
        const parsed = POSSESSION.parse(proof)
        if (parsed.magic === MAGIC) return parsed
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw sevError('ERR_SEV_POSSESSION', messageOf(cause), { cause })
    }
    throw sevError('ERR_SEV_POSSESSION', 'a proof of possession of another version, or none')
}

/** Whether it was made with this key. */
export const isMadeWith = (key: Secret, { launchId, reportData, mac }: Possession): boolean =>
    equalBytes(macOf(key, launchId, reportData), mac)

/** Whether it begins as a proof does. */
export const looksLikePossession = (input: Buffer): boolean => input.toString('latin1', 0, MAGIC.length) === MAGIC

function macOf(key: Secret, launchId: Buffer, reportData: Buffer): Buffer {
    wantLength(key, CLIENT_KEY_SIZE, 'key')
    const derived = secret(new Uint8Array(hkdfSync('sha384', key, '', LABEL, MAC_SIZE)))
    try {
        return createHmac('sha384', derived)
            .update(wantLength(launchId, LAUNCH_ID_SIZE, 'launch id'))
            .update(wantLength(reportData, REPORT_DATA_SIZE, 'report data'))
            .digest()
    } finally {
        wipe(derived)
    }
}
