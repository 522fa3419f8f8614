// `collateral`: what vendors sign of their platforms, fetched, looked after, and carried to where there is no network.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../command.ts'

export const group: readonly CommandRow[] = [
    {
        signature: 'fetch',
        describe: 'fetch and verify what evidence is judged by',
        load: async () => ({ command: await (await import('./fetch.ts')).fetchCommand() }),
    },
    {
        signature: 'status <path>',
        describe: 'what is there, and when it expires',
        load: async () => ({ command: await (await import('./status.ts')).statusCommand() }),
    },
    {
        signature: 'export <path>',
        describe: 'one file for a site without network',
        load: async () => ({ command: await (await import('./export.ts')).exportCommand() }),
    },
]
