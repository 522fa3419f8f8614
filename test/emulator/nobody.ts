// The role of an ordinary user who is nobody else, for tests that run as root: a Node that he may run, sources that he may
// read, and a node of /dev/fuse that everybody may open, as most distributions have it, bound over the machine's in a
// namespace of the test's own.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Ending, temporaryFolder } from '#test/folder.ts'
import { type Need, ROOT } from '../machine.ts'
import type { GuestOptions } from './guest.ts'

const NOBODY = 65534

export const AS_NOBODY = `setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups --`

export const nodeForAll: Need = {
    what: 'a Node that every user may run',
    met: !ROOT.met || spawnSync('sh', ['-c', `${AS_NOBODY} ${process.execPath} --version`]).status === 0,
}

/** How that user starts `emulate`, and the folder of his sources. Null where no nodes can be made. */
export function nobody(ending: Ending): (Pick<GuestOptions, 'main' | 'prefix'> & { sources: string }) | null {
    const copy = temporaryFolder(ending)
    const node = join(copy, 'fuse')
    if (spawnSync('mknod', ['-m', '666', node, 'c', '10', '229']).status !== 0) return null
    for (const name of ['src', 'drivers', 'plugins', 'test', 'package.json'])
        cpSync(fileURLToPath(new URL(`../../${name}`, import.meta.url)), join(copy, name), { recursive: true })
    const modules = fileURLToPath(new URL('../../node_modules', import.meta.url))
    if (spawnSync('ln', ['-s', modules, copy]).status !== 0) throw new Error(`no link can be made in ${copy}`)
    chmodSync(copy, 0o755)
    const become = `mount -n --bind "$1" /dev/fuse; shift; exec ${AS_NOBODY} "$@"`
    return {
        main: join(copy, 'src/cli/main.ts'),
        prefix: ['unshare', '--mount', 'sh', '-c', become, 'sh', node],
        sources: copy,
    }
}
