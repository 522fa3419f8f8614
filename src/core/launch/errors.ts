// What can be wrong with what a guest is launched from: its firmware, and the state that its processors start in.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '../errors.ts'

export const LAUNCH_ERRORS = {
    ERR_FIRMWARE: { exit: 1, means: 'a firmware image, or a table in it, is malformed' },
    ERR_FIRMWARE_LACKS: {
        exit: 1,
        means: 'the firmware lacks what this launch needs: SEV metadata, a reset block, or a place for the hashes of a kernel',
    },
    ERR_VMSA: {
        exit: 1,
        means: 'a page of initial processor state (VMSA) is malformed, or there are too many or too few',
    },
    ERR_VCPU: {
        exit: 2,
        means: 'the processor, profile or hypervisor of a launch is unknown, or contradicts the rest',
    },
} as const satisfies ErrorTable

export const launchError = errorsOf(LAUNCH_ERRORS)
