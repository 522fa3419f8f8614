// A file that a command writes, looked at before anything is asked for: a broker counts a release that is then lost.
// SPDX-License-Identifier: Apache-2.0

import { lstatSync, realpathSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { coreError } from '#core/errors.ts'

/** @throws AttestError ERR_USAGE where the file of `--out` is there already, or has no folder */
export function requireNewFile(path: string, option = '--out'): void {
    requirePath(path, option)
    if (lstatSync(path, { throwIfNoEntry: false }))
        throw coreError('ERR_USAGE', `${option}: ${path} is there already`, {
            hint: 'nothing is overwritten: name another file',
        })
}

/** A file that may be there, and is replaced then. @throws AttestError ERR_USAGE where something else is, or no folder */
export function requireReplaceable(path: string, option: string): void {
    requirePath(path, option)
    if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false)
        throw coreError('ERR_USAGE', `${option}: ${path} is no file that could be replaced`)
}

/** Two options that name one file: the second would overwrite the first. @throws AttestError ERR_USAGE */
export function requireDistinct(paths: Readonly<Record<string, string>>): void {
    const seen = new Map<string, string>()
    for (const [option, path] of Object.entries(paths)) {
        const place = join(realpathSync(dirname(path)), basename(path))
        const other = seen.get(place)
        if (other !== undefined) throw coreError('ERR_USAGE', `${other} and ${option} name the same file: ${path}`)
        seen.set(place, option)
    }
}

function requirePath(path: string, option: string): void {
    if (path === '' || path === '-')
        throw coreError('ERR_USAGE', `${option}: expected a file, got ${JSON.stringify(path)}`)
    if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
        throw coreError('ERR_USAGE', `${option}: there is no folder ${dirname(path)}`)
}
