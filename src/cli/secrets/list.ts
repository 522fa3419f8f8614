// `secrets list`: each secret that is there still, never what it says.
// SPDX-License-Identifier: Apache-2.0

import { secretName } from '#core/secret-names.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { GUEST_OPTIONS } from '../guest.ts'
import { withLaunchSecrets } from '../injected.ts'
import { readConfig } from '../settings.ts'
import { print, printJson } from '../term.ts'

export const command = define({
    options: { tee: GUEST_OPTIONS.tee, ...JSON_OPTION },
    examples: [
        ['', 'a GUID a line, with its name where it has one'],
        ['--json', 'the same for a program'],
    ],
    details: 'Nothing is read or wiped. One that is not listed was not injected, or was wiped since the guest began.',
    async run({ tee, json }) {
        const guids = await withLaunchSecrets({ tee }, readConfig(), (secrets) => secrets.list())
        const rows = guids.map((guid) => ({ guid, name: secretName(guid) }))
        if (json) printJson(rows)
        else for (const { guid, name } of rows) print(name === null ? guid : `${guid} ${name}`)
        return 0
    },
})
