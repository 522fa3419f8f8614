// The proof of possession: what a guest of SEV shows that holds the key of its launch. No processor signs it: the broker
// that validated the launch has made the key, and put it into this guest alone.
//   HMAC-SHA-384, key = HKDF-SHA-384(key of the launch, no salt, `guest-attest/sev-pop/v1`, 48 bytes)
//   over the launch's name ‖ report data, as wide as every technology has it: the handshake's digest, and zeros behind
// SPDX-License-Identifier: Apache-2.0

import { createHmac, hkdfSync } from 'node:crypto'
import {
    equalBytes,
    fromBase64,
    fromBase64Url,
    type Secret,
    secret,
    toBase64,
    toBase64Url,
    wantLength,
    wipe,
} from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { bytes, layout, text } from '#core/layout.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Evidence } from '#drivers/driver.ts'
import { CLIENT_KEY_SIZE, LAUNCH_ID_SIZE } from './client-secret.ts'
import { sevError } from './errors.ts'
import { TEE } from './tee.ts'

const LABEL = 'guest-attest/sev-pop/v1'

const MAC_SIZE = 48

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
    const mac = macOf(key, launchId, reportData)
    return POSSESSION.encode({ magic: MAGIC, launchId, reportData, mac })
}

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

export interface PossessionJson {
    readonly 'launch-id': string
    readonly 'report-data': string
    readonly hmac: string
}

/** As a guest sends it: `{"sev-possession": …}`. @throws AttestError ERR_SEV_POSSESSION */
export function toKbs({ report }: Evidence): { readonly 'sev-possession': PossessionJson } {
    const { launchId, reportData, mac } = parsePossession(report)
    return {
        'sev-possession': {
            'launch-id': toBase64Url(launchId),
            'report-data': toBase64(reportData),
            hmac: toBase64(mac),
        },
    }
}

/** Of members that are texts. @throws AttestError ERR_SEV_POSSESSION */
export function fromJson(json: PossessionJson): Evidence {
    try {
        const launchId = fromBase64Url(json['launch-id'], 'launch-id', LAUNCH_ID_SIZE)
        const reportData = fromBase64(json['report-data'], 'report-data', REPORT_DATA_SIZE)
        const mac = fromBase64(json.hmac, 'hmac', MAC_SIZE)
        return { tee: TEE, report: POSSESSION.encode({ magic: MAGIC, launchId, reportData, mac }) }
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw sevError('ERR_SEV_POSSESSION', messageOf(cause), { cause })
    }
}

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
