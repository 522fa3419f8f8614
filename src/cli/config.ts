// `config`: what configuration is in force, and where each value came from.
// SPDX-License-Identifier: Apache-2.0

import { CONFIG_FOLDER } from '#core/role.ts'
import { command as define, JSON_OPTION } from './command.ts'
import { readConfig } from './settings.ts'
import { columns, print, printJson } from './term.ts'

export const command = define({
    options: JSON_OPTION,
    examples: [['', 'every setting, its value, its source and what it means']],
    details:
        `Read from ${CONFIG_FOLDER}/config.toml, then ${CONFIG_FOLDER}/config.d/*.toml in the order of their names. ` +
        'The environment variable GUEST_ATTEST_CONFIG names another folder, for the trust anchors too; the bundles of the ' +
        'pin (`npm run build`) do not read it.',
    async run({ json }) {
        const settings = readConfig().list()
        if (json) printJson({ folder: CONFIG_FOLDER, settings })
        else {
            print(`read from ${CONFIG_FOLDER}`)
            for (const line of columns(
                settings.map(({ section, name, value, source, means }) => [
                    `${section}.${name} = ${JSON.stringify(value)}`,
                    `(${source})`,
                    means,
                ]),
            ))
                print(line)
        }
        return 0
    },
})
