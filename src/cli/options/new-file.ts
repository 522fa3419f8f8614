// A file that a command writes, looked at before anything is asked for: a broker counts a release that is then lost.
// SPDX-License-Identifier: Apache-2.0

import { lstatSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { coreError } from '#core/errors.ts'

/** @throws AttestError ERR_USAGE where the file of `--out` is there already, or has no folder */
export function requireNewFile(path: string, option = '--out'): void {
    if (path === '' || path === '-')
        throw coreError('ERR_USAGE', `${option}: expected a file, got ${JSON.stringify(path)}`)
    if (lstatSync(path, { throwIfNoEntry: false }))
        throw coreError('ERR_USAGE', `${option}: ${path} is there already`, {
            hint: 'nothing is overwritten: name another file',
        })
    if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
        throw coreError('ERR_USAGE', `${option}: there is no folder ${dirname(path)}`)
}
