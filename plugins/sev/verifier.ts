// The verifying half of SEV in one object: everything that `verify`, `inspect` and a broker ask of it.
// SPDX-License-Identifier: Apache-2.0

import { toBase64Url, toHex } from '#core/bytes.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { FieldLine, Trust, Verifier } from '#evidence/verifier.ts'
import { HOST_EVIDENCE } from './aeb/host-evidence.ts'
import { appraise, floor, readPolicyFile, SEV_POLICY, sevPolicy, writePolicyFile } from './appraise.ts'
import { FORMS, fromKbs, recognise } from './kbs-evidence.ts'
import { parsePossession, toKbs } from './possession.ts'
import { TEE } from './tee.ts'
import { AUTHENTIC_CHECKS, authenticate } from './verify.ts'

export const sevVerifier = ({ launches }: Trust): Verifier => ({
    tee: TEE,
    checkNames: { authentic: AUTHENTIC_CHECKS, appraisal: SEV_POLICY.checks },
    appraisedClaims: SEV_POLICY.appraisedClaims,
    forms: FORMS,
    mistaken: HOST_EVIDENCE,
    roots: 'for SEV none: those of a launch stand in its registration',
    takesRoot: () => false,
    recognise,
    fromKbs,
    toKbs,
    reportDataOf: ({ report }) => parsePossession(report).reportData,
    authenticate: (evidence, _at, checks) => authenticate(evidence, launches, checks),
    readPolicy: readPolicyFile,
    writePolicy: writePolicyFile,
    appraise,
    measurementsOf: (policy) => sevPolicy(policy).measurements ?? null,
    withMeasurements: (policy, measurements, title) => readPolicyFile({ ...sevPolicy(policy), measurements }, title),
    // A session does not outlive the key that it was begun with.
    stillHolds: ({ guestId }) => guestId !== null && !!launches?.find(guestId),
    floor,
    describe,
})

function describe({ report }: Evidence): readonly FieldLine[] {
    const { launchId, reportData, mac } = parsePossession(report)
    return [
        { name: 'launchId', value: toBase64Url(launchId), means: 'names the launch, of the broker that validated it' },
        { name: 'reportData', value: toHex(reportData), means: 'what the guest put in: a challenge, a key' },
        {
            name: 'hmac',
            value: toHex(mac),
            means: 'shows that the guest holds the key of that launch; the broker can tell',
        },
    ]
}
