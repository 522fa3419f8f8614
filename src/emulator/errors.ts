// What can keep the emulator from running.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const EMULATOR_ERRORS = {
    ERR_EMULATOR_MISSING: { exit: 3, means: 'this machine lacks what the emulator needs, or forbids it' },
    ERR_EMULATOR_NAMESPACE: { exit: 3, means: 'the namespace of the emulated guest could not be set up' },
    ERR_EMULATOR_FAULTS: { exit: 2, means: 'the script of faults is malformed' },
} as const satisfies ErrorTable

export const emulatorError = errorsOf(EMULATOR_ERRORS)
