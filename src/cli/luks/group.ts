// `luks`: commands on LUKS2 volumes.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'check <device>', describe: 'may this disk header be opened', load: () => import('./check.ts') },
]
