// Intel's collateral for whoever keeps it: fetched and verified before anybody writes it, described with its expiry,
// and joined into one file. What a quote needs is worked out with the same steps that judge it.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { parseCertificates } from '#core/x509.ts'
import type { CollateralService, Outlook } from '#evidence/collateral-service.ts'
import { makeBundle } from './collateral/bundle.ts'
import { fetchCollateral, readableOf } from './collateral/fetch.ts'
import { describeCollateral, fmspcsOf, judgeOutlook, openCollateral } from './collateral/outlook.ts'
import { SOURCES, UPDATES } from './collateral/pcs.ts'
import { tdxError } from './errors.ts'
import { PCK_CN, readPck } from './pck.ts'
import { parseQuote } from './quote.ts'

const FMSPC = /^[0-9a-f]{12}$/i

export const tdxCollateral: CollateralService = {
    platform: { option: 'fmspc', describe: 'TDX: a platform, by the 12 hex digits of its FMSPC; may be repeated' },
    sources: Object.fromEntries(Object.entries(SOURCES).map(([name, { title }]) => [name, title])),
    updates: UPDATES,
    readPlatform(text) {
        if (FMSPC.test(text)) return text.toLowerCase()
        throw coreError('ERR_USAGE', `--fmspc: expected 12 hex digits, got ${JSON.stringify(text)}`)
    },
    platformOf: ({ report }) => {
        const { certification } = parseQuote(report)
        const pck = parseCertificates(certification.data, 'certificates of the quote').find(
            ({ subjectCn }) => subjectCn === PCK_CN,
        )
        if (!pck) throw tdxError('ERR_TDX_CERTIFICATION', 'the quote brings no PCK certificate')
        return readPck(pck).fmspc
    },
    fetch: fetchCollateral,
    platformsIn: (given) => [...new Set(fmspcsOf(openCollateral(readableOf(given))))],
    describe: describeCollateral,
    outlook(given, evidence, at): Outlook {
        const platform = tdxCollateral.platformOf(evidence)
        return { platform, ...judgeOutlook(openCollateral(readableOf(given)), parseQuote(evidence.report), at) }
    },
    bundle: (given, platform, at) => makeBundle(given, platform, at),
}
