// Breaks a FUSE connection from outside: whoever waits for an answer on it gets ECONNABORTED, whatever state its
// server is in. Linux fs/fuse/control.c. Nothing on the mount itself is touched, for that would ask the server.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

const CONNECTIONS = '/sys/fs/fuse/connections'

// fusectl is mounted on most machines; root mounts it for itself where it is not.
const PRIVATELY = `mount -n -t fusectl guest-attest ${CONNECTIONS} && echo 1 > "${CONNECTIONS}/$1/abort"`

const TIMEOUT_MS = 5000

/**
 * Breaks the connection of this number, the minor device number of its mount. False where it cannot be reached: then
 * the end of the server's process ends it.
 */
export function abortConnection(number: number): boolean {
    try {
        writeFileSync(`${CONNECTIONS}/${number}/abort`, '1')
        return true
    } catch {
        const unshare = ['--mount', 'sh', '-c', PRIVATELY, 'guest-attest', String(number)]
        return spawnSync('unshare', unshare, { stdio: 'ignore', timeout: TIMEOUT_MS }).status === 0
    }
}
