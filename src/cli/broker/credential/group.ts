// `broker credential`: who may enroll disks over the listener of the guests.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'add <name>', describe: 'make a credential', load: () => import('./add.ts') },
    { signature: 'list', describe: 'what there is, and how often it was used', load: () => import('./list.ts') },
    { signature: 'rm <name>', describe: 'accept a credential no more', load: () => import('./rm.ts') },
]
