// How launches end, and the keys that guests have of them: by a measurement, by their time, by their owner's word.
// SPDX-License-Identifier: Apache-2.0

import { record } from './admin.ts'
import type { Broker } from './broker.ts'
import { clientName, hasExpired, type MadeClient } from './launch-clients.ts'
import type { Host } from './launch-hosts.ts'
import type { ClientEntry, LaunchEnd, LaunchEntry, VmEntry } from './launch-state.ts'
import type { ResourceName } from './store/seal.ts'
import type { Change } from './store/store.ts'

/** Those of a guest that are under way. */
export const openOf = ({ launches }: VmEntry): readonly LaunchEntry[] => launches.filter(({ end }) => end === null)

/** Launches under way and keys of launches, where their time is over. Call it within a change of the broker. */
export async function endAllExpired(broker: Broker): Promise<void> {
    for (const uuid of broker.data.state.vms.keys()) await endExpired(broker, uuid)
}

/** The same of one guest. */
export async function endExpired(broker: Broker, uuid: string): Promise<void> {
    const vm = broker.data.state.vms.get(uuid)
    if (!vm) return
    for (const launch of openOf(vm))
        if (hasExpired(launch, broker.clock)) await endLaunch(broker, uuid, launch, { outcome: 'expired' })
    if (vm.client && hasExpired(vm.client, broker.clock)) await endClient(broker, uuid, vm.client, 'expired')
}

/** A key that somebody has found to be over, whatever the time is since. */
export const endExpiredClient = (broker: Broker, uuid: string, id: string): Promise<void> =>
    broker.change(async () => {
        const client = broker.data.state.vms.get(uuid)?.client
        if (client?.id === id) await endClient(broker, uuid, client, 'expired')
    })

/** What it proved ends with it. */
export async function endClient(
    broker: Broker,
    uuid: string,
    { id }: ClientEntry,
    outcome: 'expired' | 'revoked' | 'removed',
): Promise<void> {
    await record(broker, 'client-end', uuid, { id, outcome }, { erase: clientName(id).path })
    broker.clients.forget(id)
}

/** How a launch ends, and the keys that come and go with it. */
type Ending = Pick<LaunchEnd, 'outcome'> &
    Partial<LaunchEnd> & { readonly made?: MadeClient | null; readonly before?: ClientEntry | null }

/** For good: what was sealed for it goes, and what it gives a guest comes, with the record of its end. */
export async function endLaunch(
    { data, clock, log }: Broker,
    uuid: string,
    { id }: LaunchEntry,
    end: Ending,
    host?: Pick<Host, 'peer' | 'correlation'>,
): Promise<void> {
    const { outcome, code = null, detail = null, measured = null, made = null, before = null } = end
    const changes: Change[] = [
        { erase: keysName(id).path },
        ...(before ? [{ erase: clientName(before.id).path }] : []),
        ...(made ? [{ put: made.put }] : []),
    ]
    const said = host ? { peer: host.peer, correlation: host.correlation } : {}
    const { seq } = await data.ledger.append(
        {
            kind: 'launch-end',
            subject: uuid,
            data: { id, outcome, code, detail, measured, client: made?.entry ?? null, ...said },
            at: clock.now(),
        },
        changes,
    )
    log.info('a launch ended', { vm: uuid, launch: id, outcome, ...said, audit: seq })
}

// Neither has the form of a resource's path: no guest can name it.
export const secretsName = (uuid: string): ResourceName => ({ path: `vm:${uuid}`, kind: 'vm', version: 1 })
export const keysName = (id: string): ResourceName => ({ path: `launch:${id}`, kind: 'launch', version: 1 })
