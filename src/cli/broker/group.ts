// `broker`: a key broker of one's own.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'serve', describe: 'run the broker', load: () => import('./serve.ts') },
    { signature: 'put <path> [file]', describe: 'store a resource', load: () => import('./put.ts') },
    { signature: 'list', describe: 'what is stored', load: () => import('./list.ts') },
    { signature: 'rm <path>', describe: 'erase a resource', load: () => import('./rm.ts') },
    { signature: 'policy', describe: 'the rules that permit a release', load: () => import('./policy.ts') },
    {
        signature: 'credential',
        describe: 'who may enroll disks without being an administrator',
        load: () => import('./credential/group.ts'),
    },
    { signature: 'reference', describe: 'the guests that are known', load: () => import('./reference.ts') },
    { signature: 'launch', describe: 'guests of SEV, proved before they run', load: () => import('./launch/group.ts') },
    {
        signature: 'explain <file> <path>',
        describe: 'would a guest with this evidence get this resource, and why',
        load: () => import('./explain.ts'),
    },
    { signature: 'audit', describe: 'what happened; was the log altered', load: () => import('./audit.ts') },
]
