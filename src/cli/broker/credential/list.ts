// `broker credential list`: the credentials for enrolling disks; their secrets the broker does not know.
// SPDX-License-Identifier: Apache-2.0

import type { CredentialEntry } from '#broker/state.ts'
import { command as define, JSON_OPTION } from '../../command.ts'
import { columns, print, printJson } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'

export const command = define({
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['', 'name, what it may, for which paths, until when, how often it was used']],
    async run({ data, json }) {
        const entries = await admin(data).json<Omit<CredentialEntry, 'hash'>[]>({
            method: 'GET',
            path: '/v1/credentials',
        })
        entries.sort((a, b) => (a.name < b.name ? -1 : 1))
        if (json) printJson(entries)
        else if (entries.length === 0) print('there are no credentials')
        else
            for (const line of columns([
                ['NAME', 'MAY', 'PATHS', 'EXPIRES', 'USED'],
                ...entries.map(({ name, may, allowPaths, expires, uses, maxUses }) => [
                    name,
                    may.join(','),
                    allowPaths.join(','),
                    Date.parse(expires) > Date.now() ? expires : `expired ${expires}`,
                    `${uses} of ${maxUses}`,
                ]),
            ]))
                print(line)
        return 0
    },
})
