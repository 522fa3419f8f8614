// What can be wrong with evidence whatever its technology.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const EVIDENCE_ERRORS = {
    ERR_EVIDENCE_UNKNOWN: { exit: 1, means: 'the bytes are no evidence that this program knows' },
    ERR_EVIDENCE_EMULATED: {
        exit: 1,
        means: 'an emulator made the evidence, and no root that the caller gave vouches for it',
    },
    ERR_EVIDENCE_REPORT_DATA: { exit: 1, means: 'the evidence does not carry the report data that was expected' },
    ERR_EVIDENCE_NONCE: { exit: 1, means: 'the evidence does not carry the nonce: it is a replay, or somebody else’s' },
    ERR_EVIDENCE_TRUST: {
        exit: 2,
        means: 'a file that was named as a root, as certificates or as a revocation list is none',
    },
    ERR_EVIDENCE_BINDING: { exit: 2, means: 'report data must have 1 to 64 bytes' },
} as const satisfies ErrorTable

export const evidenceError = errorsOf(EVIDENCE_ERRORS)
