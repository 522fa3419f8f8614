// `registers`: what a guest measures while it runs, in registers that its technology attests.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'list', describe: 'each register and its value', load: () => import('./list.ts') },
    {
        signature: 'extend <name>',
        describe: 'measure something into a register',
        load: () => import('./extend.ts'),
    },
]
