// `broker launch list`: the guests that are expected, without their secrets.
// SPDX-License-Identifier: Apache-2.0

import type { VmView } from '#broker/launches.ts'
import { command as define, JSON_OPTION } from '../../command.ts'
import { columns, print, printJson } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'

export const command = define({
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['', 'UUID, launches that were validated, those that are open, how the last one ended']],
    async run({ data, json }) {
        const vms = await admin(data).json<VmView[]>({ method: 'GET', path: '/v1/vm' })
        if (json) printJson(vms)
        else if (vms.length === 0) print('no guest is expected')
        else
            for (const line of columns([['UUID', 'REGISTERED', 'VALIDATED', 'OPEN', 'LAST'], ...vms.map(cells)]))
                print(line)
        return 0
    },
})

function cells({ uuid, time, validated, limits, launches, lastRefusal }: VmView): string[] {
    const ended = launches.flatMap(({ end }) => end ?? []).at(-1)
    const last = lastRefusal && lastRefusal.time > (ended?.time ?? '') ? 'refused' : (ended?.outcome ?? '')
    const open = launches.filter(({ end }) => end === null).length
    return [uuid, time, `${validated} of ${limits.maxLaunches}`, String(open), last]
}
