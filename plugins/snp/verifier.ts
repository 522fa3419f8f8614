// The verifying half of SNP in one object: everything that `verify`, `inspect` and a broker ask of it.
// SPDX-License-Identifier: Apache-2.0

import type { Trust, Verifier } from '#evidence/verifier.ts'
import { appraise, floor } from './appraise.ts'
import { readRoots } from './chain.ts'
import { describe } from './inspect.ts'
import { toKbs } from './kbs-evidence.ts'
import { fromKbs } from './kbs-evidence-schema.ts'
import { readPolicy, SNP_POLICY, snpPolicy, writePolicy } from './policy.ts'
import { FORMS, recognise } from './recognise.ts'
import { parseReport } from './report.ts'
import { TEE } from './tee.ts'
import { AUTHENTIC_CHECKS, authenticator } from './verify.ts'

export const snpVerifier = (trust: Trust): Verifier => ({
    tee: TEE,
    checkNames: { authentic: AUTHENTIC_CHECKS, appraisal: SNP_POLICY.checks },
    appraisedClaims: SNP_POLICY.appraisedClaims,
    forms: FORMS,
    roots: 'a root key of SEV-SNP (self-signed, named ARK-…)',
    takesRoot: ({ name, bytes }) => readRoots(name, bytes).length > 0,
    recognise,
    fromKbs,
    toKbs,
    reportDataOf: ({ report }) => parseReport(report).reportData,
    authenticate: authenticator(trust),
    readPolicy,
    writePolicy,
    appraise,
    measurementsOf: (policy) => snpPolicy(policy).measurements ?? null,
    withMeasurements: (policy, measurements, title) => readPolicy({ ...snpPolicy(policy), measurements }, title),
    floor,
    describe,
})
