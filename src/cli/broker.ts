// `broker`: a key broker of one's own.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from './command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'serve', describe: 'run the broker', load: () => import('./broker/serve.ts') },
    { signature: 'put <path> [file]', describe: 'store a resource', load: () => import('./broker/put.ts') },
    { signature: 'list', describe: 'what is stored', load: () => import('./broker/list.ts') },
    { signature: 'rm <path>', describe: 'erase a resource', load: () => import('./broker/rm.ts') },
    { signature: 'policy', describe: 'the rules that permit a release', load: () => import('./broker/policy.ts') },
    { signature: 'reference', describe: 'the guests that are known', load: () => import('./broker/reference.ts') },
    {
        signature: 'explain <file> <path>',
        describe: 'would a guest with this evidence get this resource, and why',
        load: () => import('./broker/explain.ts'),
    },
    { signature: 'audit', describe: 'what happened; was the log altered', load: () => import('./broker/audit.ts') },
]
