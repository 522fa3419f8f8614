// `secrets`: what this guest's owner had put into its memory before it ran.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'list', describe: 'each secret that is there still', load: () => import('./list.ts') },
    { signature: 'show <guid>', describe: 'write one to a file, and leave it there', load: () => import('./show.ts') },
    {
        signature: 'take <guid>',
        describe: 'write one to a file, and wipe it from memory',
        load: () => import('./take.ts'),
    },
]
