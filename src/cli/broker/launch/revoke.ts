// `broker launch revoke`: the owner's word that a guest which runs gets nothing any more.
// SPDX-License-Identifier: Apache-2.0

import type { VmView } from '#broker/launches.ts'
import { command as define } from '../../command.ts'
import { note } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'
import { vmPath } from './path.ts'

export const command = define({
    positionals: { uuid: 'the guest' },
    options: DATA_OPTION,
    examples: [['7c9e6679-7425-40de-944b-e07fc1f90ae7', 'the key of its last launch proves nothing any more']],
    details: 'What the guest has already it keeps. A launch after this one gets a key of its own: `rm` ends those too.',
    async run(args) {
        const path = `${vmPath(args['uuid'])}/revoke`
        const { uuid } = await admin(args.data).json<VmView>({ method: 'POST', path })
        note(`${uuid}: the key of its last launch is erased`)
        return 0
    },
})
