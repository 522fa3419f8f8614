// `broker launch`: guests of SEV, which are proved before they run.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from '../../command.ts'

export const group: readonly CommandRow[] = [
    {
        signature: 'register <uuid>',
        describe: 'expect a guest, with secrets for it',
        load: () => import('./register.ts'),
    },
    { signature: 'list', describe: 'the guests that are expected', load: () => import('./list.ts') },
    {
        signature: 'show <uuid>',
        describe: 'one of them, its launches, why one was denied',
        load: () => import('./show.ts'),
    },
    { signature: 'confirm <uuid>', describe: 'let one more launch be validated', load: () => import('./confirm.ts') },
    {
        signature: 'revoke <uuid>',
        describe: 'give the guest that runs nothing any more',
        load: () => import('./revoke.ts'),
    },
    { signature: 'rm <uuid>', describe: 'expect it no more', load: () => import('./rm.ts') },
]
