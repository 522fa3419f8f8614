// `broker launch show`: a guest that is expected, its launches, and why its host was refused.
// SPDX-License-Identifier: Apache-2.0

import type { VmView } from '#broker/launches.ts'
import { sevOwner } from '#plugins.ts'
import { command as define, JSON_OPTION } from '../../command.ts'
import { print, printJson } from '../../term.ts'
import { admin, DATA_OPTION } from '../admin.ts'
import { vmPath } from './path.ts'

export const command = define({
    positionals: { uuid: 'the guest' },
    options: { ...DATA_OPTION, ...JSON_OPTION },
    examples: [['7c9e6679-7425-40de-944b-e07fc1f90ae7', 'what it must be, and what became of its launches']],
    async run(args) {
        const vm = await admin(args.data).json<VmView>({ method: 'GET', path: vmPath(args['uuid']) })
        if (args.json) printJson(vm)
        else for (const line of linesOf(vm, (await sevOwner()).describeTerms(vm.terms))) print(line)
        return 0
    },
})

function* linesOf(
    { uuid, time, weaknesses, limits, validated, confirmed, ...vm }: VmView,
    terms: readonly string[],
): Generator<string> {
    yield `${uuid}, registered ${time}${vm.hostToken ? ', its host shows a token' : ''}`
    for (const term of terms) yield `  ${term}`
    for (const weakness of weaknesses) yield `  NOTE: ${weakness}`
    const { maxLaunches, confirmAfter } = limits
    yield `  ${validated} of ${maxLaunches} launches were validated${confirmAfter === null ? '' : `; ${confirmAfter} without confirmation, ${confirmed} confirmed`}`
    if (vm.broker) {
        const { url, allowPaths } = vm.broker
        yield `  proves itself to ${url}, for ${allowPaths.join(', ')}`
        yield vm.client === null
            ? '    no launch has a key that counts'
            : `    with the key of launch ${vm.client.id}, until ${vm.client.expires}`
    }
    for (const { id, time: at, peer, platform, end } of vm.launches) {
        yield `  ${at} launch ${id} from ${peer}, chip ${String(platform['chip'])}`
        yield end === null
            ? '    open'
            : `    ${end.outcome} ${end.time}${end.code === null ? '' : `: ${end.detail} (${end.code})`}`
    }
    if (vm.lastRefusal)
        yield `  last refused ${vm.lastRefusal.time} to ${vm.lastRefusal.peer}: ${vm.lastRefusal.detail}`
}
