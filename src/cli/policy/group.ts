// `policy`: appraisal policies for `verify` and for a broker's reference sets.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    {
        signature: 'init',
        describe: 'write the strictest policy that a proof passes',
        load: () => import('./init.ts'),
    },
]
