// What can go wrong between a guest and its key broker.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const KBS_ERRORS = {
    ERR_KBS_URI: { exit: 2, means: 'a resource is named kbs:///REPOSITORY/TYPE/TAG' },
    ERR_KBS_MESSAGE: { exit: 1, means: 'a message of the protocol is malformed' },
    ERR_KBS_VERSION: { exit: 1, means: 'the other side speaks another version of the protocol' },
    ERR_KBS_TEE: { exit: 1, means: 'the technology is not one that this side knows' },
    ERR_KBS_ADDITIONAL_EVIDENCE: { exit: 1, means: 'evidence of further devices is not supported' },
    ERR_KBS_SESSION: { exit: 3, passes: true, means: 'the session is unknown, has expired, or was used already' },
    ERR_KBS_BINDING: { exit: 1, means: 'the evidence is bound to another handshake' },
    ERR_KBS_ATTESTATION: { exit: 1, means: 'the broker does not accept the evidence as authentic' },
    ERR_KBS_DENIED: { exit: 1, means: 'the broker does not release this resource to this guest' },
    ERR_KBS_VERSION_RETIRED: { exit: 1, means: 'the version that was asked for is not the current one' },
    ERR_KBS_CREDENTIAL: { exit: 1, means: 'the broker does not accept the credential for this' },
    ERR_KBS_CREDENTIAL_FILE: { exit: 2, means: 'the file does not hold a credential' },
    ERR_KBS_EXISTS: { exit: 1, means: 'the broker has that resource already, and does not replace it' },
    ERR_KBS_CHANGED: { exit: 1, means: 'the version that was to be replaced is not the current one' },
    ERR_KBS_NOT_FOUND: { exit: 1, means: 'the broker has no such resource' },
    ERR_KBS_BUSY: { exit: 3, passes: true, means: 'the broker asks to come back later' },
    ERR_KBS_SERVER: { exit: 3, passes: true, means: 'the broker failed' },
    ERR_KBS_RESOURCE: { exit: 1, means: 'the resource is not of the kind that was asked for' },
} as const satisfies ErrorTable

export const kbsError = errorsOf(KBS_ERRORS)
