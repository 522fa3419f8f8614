// `broker launch rm`: a guest that is expected no more. Its secrets are erased; what is open ends.
// SPDX-License-Identifier: Apache-2.0

import { command as define } from '../../command.ts'
import { note } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'
import { vmPath } from './path.ts'

export const command = define({
    positionals: { uuid: 'the guest' },
    options: DATA_OPTION,
    examples: [['7c9e6679-7425-40de-944b-e07fc1f90ae7', 'whatever its host asks for now is denied']],
    async run(args) {
        await admin(args.data).text({ method: 'DELETE', path: vmPath(args['uuid']) })
        note(`${args['uuid']} is expected no more`)
        return 0
    },
})
