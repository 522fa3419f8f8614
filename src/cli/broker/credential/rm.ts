// `broker credential rm`: ends a credential before its time.
// SPDX-License-Identifier: Apache-2.0

import { command as define } from '../../command.ts'
import { note } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'

export const command = define({
    positionals: { name: 'the credential' },
    options: DATA_OPTION,
    examples: [['ops', 'what was done with it stays']],
    async run(args) {
        const name = String(args['name'])
        await admin(args.data).text({ method: 'DELETE', path: `/v1/credentials/${encodeURIComponent(name)}` })
        note(`${name} is accepted no more`)
        return 0
    },
})
