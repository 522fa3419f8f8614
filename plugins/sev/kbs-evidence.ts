// The proof of possession in the key broker protocol's JSON form. This is the sending half, which a guest runs on the way to
// its disk; what is received is kbs-evidence-schema.ts.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64, fromBase64Url, toBase64, toBase64Url } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { LAUNCH_ID_SIZE, REPORT_DATA_SIZE } from '#core/sizes.ts'
import type { Evidence } from '#drivers/driver.ts'
import { sevError } from './errors.ts'
import { encodePossession, MAC_SIZE, parsePossession } from './possession.ts'
import { TEE } from './tee.ts'

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
        return { tee: TEE, report: encodePossession({ launchId, reportData, mac }) }
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw sevError('ERR_SEV_POSSESSION', messageOf(cause), { cause })
    }
}
