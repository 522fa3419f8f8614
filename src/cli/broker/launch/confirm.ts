// `broker launch confirm`: the owner's word for one more launch of a guest.
// SPDX-License-Identifier: Apache-2.0

import type { VmView } from '#broker/launches.ts'
import { command as define } from '../../command.ts'
import { note } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'
import { vmPath } from './path.ts'

export const command = define({
    positionals: { uuid: 'the guest' },
    options: DATA_OPTION,
    examples: [['7c9e6679-7425-40de-944b-e07fc1f90ae7', 'of a guest that was registered with --confirm-after']],
    async run(args) {
        const path = `${vmPath(args['uuid'])}/confirm`
        const { uuid, limits, confirmed } = await admin(args.data).json<VmView>({ method: 'POST', path })
        const { maxLaunches, confirmAfter } = limits
        note(`${uuid}: ${(confirmAfter ?? 0) + confirmed} of its ${maxLaunches} launches may be validated`)
        return 0
    },
})
