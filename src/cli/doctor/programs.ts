// Programs of the distribution that this one calls or needs.
// SPDX-License-Identifier: Apache-2.0

import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** An ordinary user's PATH has no /sbin, where cryptsetup lives. */
const SYSTEM_FOLDERS = ['/usr/sbin', '/sbin', '/usr/bin', '/bin']

/** Where a program is, or null. */
export function findProgram(name: string): string | null {
    const folders = [...(process.env['PATH'] ?? '').split(':').filter(Boolean), ...SYSTEM_FOLDERS]
    return folders.map((folder) => join(folder, name)).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
    try {
        accessSync(path, constants.X_OK)
        return true
    } catch {
        return false
    }
}
