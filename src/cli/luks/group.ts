// `luks`: commands on LUKS2 volumes.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'check <device>', describe: 'may this disk header be opened', load: () => import('./check.ts') },
    { signature: 'bind <device>', describe: 'bind a disk to a resource of a broker', load: () => import('./bind.ts') },
    {
        signature: 'enroll <device>',
        describe: 'have a disk opened at boot: trust, key, binding, crypttab, initrd',
        load: () => import('./enroll.ts'),
    },
    {
        signature: 'open <device> [name]',
        describe: 'open a disk as it is opened at boot',
        load: () => import('./open.ts'),
    },
    { signature: 'rebind <devices..>', describe: 'rotate the key of a disk', load: () => import('./rebind.ts') },
    { signature: 'report <device>', describe: 'who can open a disk', load: () => import('./report.ts') },
]
