// `broker list`: what is stored, without its bytes.
// SPDX-License-Identifier: Apache-2.0

import type { ResourceEntry } from '#broker/state.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { columns, print, printJson } from '../term.ts'
import { admin, DATA_OPTION } from './admin.ts'

export const command = define({
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['', 'path, kind, version, when it was put, how often it was released']],
    async run({ data, json }) {
        const entries = await admin(data).json<ResourceEntry[]>({ method: 'GET', path: '/v1/resources' })
        entries.sort((a, b) => (a.path < b.path ? -1 : 1))
        if (json) printJson(entries)
        else if (entries.length === 0) print('nothing is stored')
        else
            for (const line of columns([
                ['PATH', 'KIND', 'VERSION', 'PUT', 'RELEASED'],
                ...entries.map(({ path, kind, version, time, releases, maxReleases }) => [
                    path,
                    kind,
                    String(version),
                    time,
                    maxReleases === null ? `${releases}` : `${releases} of ${maxReleases}`,
                ]),
            ]))
                print(line)
        return 0
    },
})
