// Why a key is not fetched, before anything is sent.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const UNLOCK_ERRORS = {
    ERR_UNLOCK_NOT_ANCHORED: { exit: 1, means: 'the broker is none of those that this guest trusts' },
    ERR_UNLOCK_PATH: { exit: 1, means: 'the path is none of those that this broker may open a disk with' },
    ERR_UNLOCK_ANCHOR_FILE: { exit: 2, means: 'a trust anchor is malformed' },
    ERR_UNLOCK_VOLUME_FILE: { exit: 2, means: 'a file of the volume table is malformed' },
    ERR_UNLOCK_NO_VOLUME: { exit: 2, means: 'the volume is none of those that this guest opens' },
    ERR_UNLOCK_DENIED_EARLIER: { exit: 1, means: 'the broker denied the same request earlier in this boot' },
    ERR_UNLOCK_COMMAND_LINE: {
        exit: 1,
        means: 'the kernel command line has a word that would hand a strict guest to whoever wrote it',
    },
    ERR_UNLOCK_HEADER: { exit: 1, means: 'the header of the disk may not be opened from' },
    ERR_UNLOCK_UNBOUND: { exit: 1, means: 'the header of the disk has no binding for the path of the volume table' },
    ERR_UNLOCK_NO_DEVICE: { exit: 3, means: 'the disk did not appear before the deadline' },
    ERR_UNLOCK_KEY: { exit: 1, means: 'what was released or injected is no key for a disk' },
    ERR_UNLOCK_GAVE_UP: { exit: 3, means: 'no broker released the key before the deadline' },
} as const satisfies ErrorTable

export const unlockError = errorsOf(UNLOCK_ERRORS)
