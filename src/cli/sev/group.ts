// `sev`: what the owner of a guest of SEV or SEV-ES does before it runs, and what its host does meanwhile.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'session', describe: 'keys for one launch on one platform', load: () => import('./session.ts') },
    {
        signature: 'validate',
        describe: 'is this launch the one that is expected?',
        load: () => import('./validate.ts'),
    },
    { signature: 'inject', describe: 'a packet of secrets for a launch', load: () => import('./inject.ts') },
    {
        signature: 'launch-host',
        describe: 'start a guest whose owner proves it first',
        load: () => import('./host/command.ts'),
    },
    {
        signature: 'chain',
        describe: 'the certificates of a platform',
        load: async () => ({ group: (await import('./chain.ts')).group }),
    },
    {
        signature: 'report',
        describe: 'reports that hosts ask for',
        load: async () => ({ group: (await import('./report.ts')).group }),
    },
    {
        signature: 'aeb',
        describe: 'evidence that hosts hand to guests (2022)',
        load: async () => ({ group: (await import('./aeb-serve.ts')).group }),
    },
]
