// `trust`: which brokers this guest believes.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    { signature: 'add <url>', describe: 'trust a broker', load: () => import('./add.ts') },
    { signature: 'list', describe: 'the brokers that are trusted', load: () => import('./list.ts') },
    { signature: 'rm <url>', describe: 'trust a broker no more', load: () => import('./rm.ts') },
]
