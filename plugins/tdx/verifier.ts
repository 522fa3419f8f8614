// The verifying half of TDX in one object: everything that `verify`, `inspect` and a broker ask of it.
// SPDX-License-Identifier: Apache-2.0

import type { Trust, Verifier } from '#evidence/verifier.ts'
import { appraise, floor } from './appraise.ts'
import { ROOTS, readRoots } from './chain.ts'
import { ready, trustReader } from './collateral/trusted.ts'
import { readBootLog } from './event-log/boot-log.ts'
import { describe } from './inspect.ts'
import { toKbs } from './kbs-evidence.ts'
import { fromKbs } from './kbs-evidence-schema.ts'
import { coverageOf, readPolicy, TDX_POLICY, tdxPolicy, writePolicy } from './policy.ts'
import { parseQuote } from './quote.ts'
import { FORMS, MISTAKEN, recognise } from './recognise.ts'
import { STATUS_CHECKS, statusJudge } from './status.ts'
import { TEE } from './tee.ts'
import { AUTHENTIC_CHECKS, authenticator } from './verify.ts'

export function tdxVerifier(trust: Trust): Verifier {
    const read = trustReader(trust)
    return {
        tee: TEE,
        checkNames: { authentic: AUTHENTIC_CHECKS, status: STATUS_CHECKS, appraisal: TDX_POLICY.checks },
        appraisedClaims: TDX_POLICY.appraisedClaims,
        forms: FORMS,
        mistaken: MISTAKEN,
        roots: `a root key of SGX and TDX (${ROOTS})`,
        takesRoot: (root) => readRoots(root).length > 0,
        recognise,
        fromKbs,
        toKbs,
        ready: () => ready(trust, read),
        reportDataOf: ({ report }) => parseQuote(report).body.reportData,
        longClaims: ['eventLog.measured', 'eventLog.digests'],
        authenticate: authenticator(trust, read),
        judgeStatus: statusJudge(trust),
        readPolicy,
        writePolicy,
        appraise,
        measurementsOf: (policy) => tdxPolicy(policy).measurements ?? null,
        withMeasurements: (policy, measurements, title) => readPolicy({ ...tdxPolicy(policy), measurements }, title),
        covers: coverageOf,
        readEventLog: readBootLog,
        floor,
        describe,
    }
}
