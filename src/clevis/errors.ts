// What can be wrong with a binding.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const CLEVIS_ERRORS = {
    ERR_CLEVIS_CONFIG: { exit: 1, means: 'the configuration of the pin is malformed' },
    ERR_CLEVIS_HEADER: { exit: 1, means: 'the header of the JWE is not one of this pin' },
    ERR_CLEVIS_KEY_FILE: { exit: 1, means: 'the key file does not hold a key' },
} as const satisfies ErrorTable

export const clevisError = errorsOf(CLEVIS_ERRORS)
