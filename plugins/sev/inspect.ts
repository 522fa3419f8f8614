// A proof of possession shown to a person. Nothing here is verified.
// SPDX-License-Identifier: Apache-2.0

import { toBase64Url, toHex } from '#core/bytes.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { FieldLine } from '#evidence/verifier.ts'
import { parsePossession } from './possession.ts'

/** @throws AttestError ERR_SEV_POSSESSION */
export function describe({ report }: Evidence): readonly FieldLine[] {
    const { launchId, reportData, mac } = parsePossession(report)
    return [
        { name: 'launchId', value: toBase64Url(launchId), means: 'of the broker that validated the launch' },
        { name: 'reportData', value: toHex(reportData), means: 'what the guest put in: a challenge, a key' },
        {
            name: 'hmac',
            value: toHex(mac),
            means: 'shows that the guest holds the key of that launch; the broker can tell',
        },
    ]
}
