// Errors of what `luks` does to this machine, beside the header of a disk.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const MACHINE_ERRORS = {
    ERR_INITRD_BUILD: {
        exit: 3,
        means: 'the program that builds the initrd is missing, or failed: the old one stands',
    },
} as const satisfies ErrorTable

export const machineError = errorsOf(MACHINE_ERRORS)
