// Errors as a kernel returns them.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import type { ErrnoName } from './model.ts'

/** Ends a request of a process with this errno. Nothing is wrong with the emulator. */
export class Errno extends Error {
    override readonly name = 'Errno'
    readonly errno: number

    constructor(name: ErrnoName) {
        super(name)
        this.errno = constants.errno[name]
    }
}

export const ERRNO_NAMES = Object.keys(constants.errno) as ErrnoName[]
