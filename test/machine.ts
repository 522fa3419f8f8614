// What this machine has: programs, devices, rights. Tests ask through needs.ts, benchmarks and the demo directly.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** The real reports, messages and certificates of other projects; not part of this repository. */
export const VECTORS = resolve(process.env['GUEST_ATTEST_VECTORS'] ?? '../shared/vectors')

export interface Need {
    readonly what: string
    readonly met: boolean
}

export const ROOT: Need = { what: 'root', met: process.geteuid?.() === 0 }

/** Files of that folder, which may hold some of them: `npm run vectors` fetches those of its manifest. */
export const vectors = (...paths: readonly string[]): Need => ({
    what: 'GUEST_ATTEST_VECTORS',
    met: paths.every((path) => existsSync(join(VECTORS, path))),
})

export const FUSE: Need = { what: '/dev/fuse', met: mayUse('/dev/fuse') }

/** A machine that can call itself by vsock; a guest of somebody's would call its host instead. */
export const VSOCK_LOOPBACK: Need = { what: 'vsock_loopback', met: existsSync('/sys/module/vsock_loopback') }

/** Programs by their names, found on PATH or in the system's folders. */
export const programs = (...names: string[]): Need => {
    const missing = names.filter((name) => !isProgram(name))
    return { what: missing.join(', '), met: missing.length === 0 }
}

/** A variable that turns on what is slow or needs more than the machine usually has. */
export const variable = (name: string): Need => ({ what: `${name}=1`, met: process.env[name] === '1' })

const FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/libexec']

/** The path of a program, also where an ordinary user's PATH has no /sbin. */
export function isProgram(name: string): boolean {
    return FOLDERS.some((folder) => existsSync(`${folder}/${name}`)) || spawnSync('which', [name]).status === 0
}

function mayUse(path: string): boolean {
    try {
        accessSync(path, constants.R_OK | constants.W_OK)
        return true
    } catch {
        return false
    }
}
