// The verifying half of SEV in one object: everything that `verify`, `inspect` and a broker ask of it.
// SPDX-License-Identifier: Apache-2.0

import type { Mistaken, Trust, Verifier } from '#evidence/verifier.ts'
import { HOST_EVIDENCE } from './aeb/host-evidence.ts'
import { appraise, floor } from './appraise.ts'
import { CERT_SIZE, peekUsage } from './chain/certs.ts'
import { describe } from './inspect.ts'
import { toKbs } from './kbs-evidence.ts'
import { fromKbs } from './kbs-evidence-schema.ts'
import { readPolicy, SEV_POLICY, sevPolicy, writePolicy } from './policy.ts'
import { parsePossession } from './possession.ts'
import { FORMS, recognise } from './recognise.ts'
import { TEE } from './tee.ts'
import { AUTHENTIC_CHECKS, authenticate } from './verify.ts'

const CERTIFICATE: Mistaken = {
    what: 'a certificate of SEV',
    is: (bytes) => bytes.length >= CERT_SIZE && peekUsage(bytes) !== null,
    hint: '`guest-attest sev chain verify --cert-chain FILE` judges certificates',
}

export const sevVerifier = ({ launches }: Trust): Verifier => ({
    tee: TEE,
    checkNames: { authentic: AUTHENTIC_CHECKS, appraisal: SEV_POLICY.checks },
    appraisedClaims: SEV_POLICY.appraisedClaims,
    forms: FORMS,
    mistaken: [...HOST_EVIDENCE, CERTIFICATE],
    roots: 'for SEV none: those of a launch stand in its registration',
    takesRoot: () => false,
    recognise,
    fromKbs,
    toKbs,
    reportDataOf: ({ report }) => parsePossession(report).reportData,
    authenticate: (evidence, _at, checks) => authenticate(evidence, launches, checks),
    readPolicy,
    writePolicy,
    appraise,
    measurementsOf: (policy) => sevPolicy(policy).measurements ?? null,
    withMeasurements: (policy, measurements, title) => readPolicy({ ...sevPolicy(policy), measurements }, title),
    // A session does not outlive the key that it was begun with.
    stillHolds: ({ guestId }) => guestId !== null && !!launches?.find(guestId),
    floor,
    describe,
})
