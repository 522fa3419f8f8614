// `registers list`: each register and its value.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { GUEST_OPTIONS } from '../guest.ts'
import { columns, print, printJson } from '../term.ts'
import { registerJson, withRegisters } from './registers.ts'

export const command = define({
    options: { tee: GUEST_OPTIONS.tee, ...JSON_OPTION },
    examples: [
        ['', 'name, whether this guest may extend it, value'],
        ['--json', 'the same for a program'],
    ],
    async run({ tee, json }) {
        const all = await withRegisters({ tee }, (registers) => registers.read())
        if (json) printJson(all.map(registerJson))
        else
            for (const line of columns(
                all.map(({ name, extensible, value }) => [name, extensible ? 'extensible' : 'fixed', toHex(value)]),
            ))
                print(line)
        return 0
    },
})
