// Refusals on the wire: the error JSON of the key broker protocol (`type`, `detail`) with honest status codes, and beside
// it this program's `code` and a correlation that stands in the log too.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, excerpt } from '#core/errors.ts'
import type { KBS_ERRORS } from '#kbs/errors.ts'
import { ERROR_TYPE_PREFIX } from '#kbs/messages.ts'
import type { DenialCode } from '../decision/decide.ts'

export interface Problem {
    readonly status: number
    /** A name of the protocol's reference implementation where it has one. */
    readonly type: string
    readonly code: string
    readonly detail: string
    readonly retryAfterS?: number
    /** What to do about it: for administrators. */
    readonly hint?: string
}

type Row = Omit<Problem, 'code' | 'detail' | 'hint'>

const MALFORMED: Row = { status: 400, type: 'SerdeError' }
const DENIED: Row = { status: 403, type: 'PolicyDeny' }
const FAILED: Row = { status: 503, type: 'StorageBackendError', retryAfterS: 10 }

/** What a guest must hear of: for anything else it is told that the broker failed, and tries again. */
type ToldCode = DenialCode | Exclude<keyof typeof KBS_ERRORS, 'ERR_KBS_SERVER'>

/** 401 stands only where attesting again helps: clients answer it by doing so. */
const BY_CODE: Readonly<Record<string, Row>> = {
    ERR_KBS_SESSION: { status: 401, type: 'TokenNotFound' },
    ERR_KBS_MESSAGE: MALFORMED,
    ERR_KBS_VERSION: { status: 400, type: 'AttestationError' },
    ERR_KBS_TEE: { status: 400, type: 'AttestationError' },
    ERR_KBS_ADDITIONAL_EVIDENCE: { status: 400, type: 'AttestationError' },
    ERR_KBS_URI: { status: 400, type: 'InvalidRequestPath' },
    ERR_KBS_ATTESTATION: { status: 403, type: 'AttestationError' },
    ERR_KBS_BINDING: { status: 403, type: 'AttestationError' },
    ERR_KBS_DENIED: DENIED,
    ERR_KBS_RESOURCE: DENIED,
    ERR_KBS_VERSION_RETIRED: { status: 403, type: 'VersionRetired' },
    ERR_KBS_CREDENTIAL_FILE: MALFORMED,
    ERR_KBS_CREDENTIAL: { status: 403, type: 'CredentialDenied' },
    ERR_KBS_EXISTS: { status: 409, type: 'ResourceExists' },
    ERR_KBS_CHANGED: { status: 409, type: 'VersionChanged' },
    ERR_KBS_NOT_FOUND: { status: 404, type: 'PluginInternalError' },
    ERR_KBS_BUSY: { status: 429, type: 'TooManyRequests', retryAfterS: 30 },
    ERR_JSON: MALFORMED,
    ERR_JWE: MALFORMED,
    ERR_ENCODING: MALFORMED,
    ERR_LENGTH: MALFORMED,
    ERR_CONFIG: MALFORMED,
    ERR_BROKER_DENIED_REFERENCE: DENIED,
    ERR_BROKER_DENIED_FLOOR: DENIED,
    ERR_BROKER_DENIED_POLICY: DENIED,
    ERR_BROKER_DENIED_EVALUATION: DENIED,
    ERR_BROKER_DENIED_ENDED: DENIED,
    ERR_BROKER_DENIED_PATH: DENIED,
    ERR_BROKER_DENIED_COUNT: DENIED,
    ERR_BROKER_LAUNCH_DENIED: DENIED,
    ERR_BROKER_POLICY: { status: 400, type: 'ParsePolicyError' },
    ERR_BROKER_REFERENCE: MALFORMED,
    ERR_BROKER_NAME: MALFORMED,
    ERR_BROKER_REQUEST: MALFORMED,
    ERR_BROKER_EXISTS: { status: 409, type: 'SerdeError' },
    ERR_BROKER_NOT_FOUND: { status: 404, type: 'PluginInternalError' },
    ERR_BROKER_STORE: FAILED,
} satisfies Record<ToldCode, Row> & Record<string, Row>

/** What the web framework says by itself, by its status. */
const BY_STATUS: Readonly<Record<number, Omit<Row, 'status'> & { readonly code: string }>> = {
    400: { type: 'SerdeError', code: 'ERR_KBS_MESSAGE' },
    403: { type: 'PolicyDeny', code: 'ERR_KBS_DENIED' },
    404: { type: 'PluginNotFound', code: 'ERR_KBS_NOT_FOUND' },
    405: { type: 'InvalidRequestPath', code: 'ERR_KBS_URI' },
    413: { type: 'PayloadTooLarge', code: 'ERR_KBS_MESSAGE' },
    414: { type: 'InvalidRequestPath', code: 'ERR_KBS_URI' },
    415: { type: 'SerdeError', code: 'ERR_KBS_MESSAGE' },
    429: { type: 'TooManyRequests', code: 'ERR_KBS_BUSY' },
}

/** Of a detail that quotes what a guest has sent. */
const MAX_DETAIL = 2000

export const problem = (status: number, detail: string): Problem => ({
    status,
    detail: excerpt(detail, MAX_DETAIL),
    ...(BY_STATUS[status] ?? { type: 'InternalError', code: 'ERR_KBS_SERVER' }),
})

/** What an administrator is told of an error. */
export function adminProblemOf(error: unknown): Problem {
    if (!(error instanceof AttestError)) return problemOf(error)
    const row = BY_CODE[error.code] ?? MALFORMED
    return {
        ...row,
        code: error.code,
        detail: error.message,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
    }
}

/** What a guest is told of an error. What is not meant for it stays in the log, under the correlation. */
export function problemOf(error: unknown): Problem {
    if (error instanceof AttestError) {
        const row = BY_CODE[error.code]
        if (row) return { ...row, code: innerCode(error), detail: excerpt(error.message, MAX_DETAIL) }
    } else if (error instanceof Error && 'statusCode' in error) {
        const status = Number(error.statusCode)
        if (status >= 400 && status < 500) return problem(status, error.message)
    }
    return problem(500, 'internal error: the log of the broker has the cause under this correlation')
}

/** The body of a refusal. */
export const problemBody = ({ type, code, detail, hint }: Problem, correlation: string) => ({
    type: `${ERROR_TYPE_PREFIX}${type}`,
    detail,
    code,
    correlation,
    ...(hint === undefined ? {} : { hint }),
})

// Evidence that does not convince carries the code of the check that failed.
const innerCode = ({ code, cause }: AttestError): string =>
    code === 'ERR_KBS_ATTESTATION' && cause instanceof AttestError ? cause.code : code
