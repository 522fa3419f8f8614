// The launch service, the owner's half: guests that are proved before they run, and can have no reports then. Their owner
// registers them, sees what became of their launches, and ends the keys of those. Each step is durable before it is answered.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import type { LaunchService } from '#evidence/launch.ts'
import { demand, record } from './admin.ts'
import type { Broker } from './broker.ts'
import { brokerError } from './errors.ts'
import { requirePin } from './launch-clients.ts'
import { endAllExpired, endClient, endLaunch, openOf, secretsName } from './launch-ends.ts'
import type { HostRefusal } from './launch-hosts.ts'
import type { ClientEntry, GuestBroker, LaunchEntry, VmEntry, VmLimits } from './launch-state.ts'
import { digestResource, sealResource } from './store/seal.ts'

/** That are registered at once. */
const MAX_VMS = 10_000

/** What an owner says beside what the technology asks for. */
export interface VmTerms {
    readonly limits: VmLimits
    readonly hostToken: string | null
    /** What the guest is told of this broker, with a key of each launch; null: nothing. */
    readonly broker: GuestBroker | null
    readonly registration: unknown
}

/** As its owner sees it. */
export type VmView = Omit<VmEntry, 'digest' | 'hostToken' | 'launches' | 'client'> & {
    readonly hostToken: boolean
    readonly lastRefusal: HostRefusal | null
    readonly launches: readonly Omit<LaunchEntry, 'digest'>[]
    readonly client: Omit<ClientEntry, 'digest'> | null
}

/** @throws AttestError ERR_BROKER_EXISTS, ERR_BROKER_REQUEST, ERR_BROKER_STORE, what the technology says */
export const registerVm = (
    broker: Broker,
    service: LaunchService,
    uuid: string,
    { limits, hostToken, broker: told, registration }: VmTerms,
): Promise<VmView> =>
    broker.change(async () => {
        const { vms } = broker.data.state
        if (vms.has(uuid))
            throw brokerError('ERR_BROKER_EXISTS', `${uuid} is registered already`, {
                hint: 'each start of a guest has a UUID of its own; `guest-attest broker launch rm` forgets this one',
            })
        if (vms.size >= MAX_VMS)
            throw brokerError('ERR_BROKER_REQUEST', `${MAX_VMS} guests are registered already: remove some`)
        const { terms, secrets, weaknesses } = service.register(
            registration,
            told && { url: told.url, allowPaths: told.allowPaths, pins: [requirePin(broker.listener.pin)] },
        )
        try {
            const put = sealResource(broker.data.masterKey, secretsName(uuid), secrets)
            const { scheme } = service
            const what = { scheme, terms, weaknesses, limits, hostToken, broker: told, digest: digestResource(put) }
            await record(broker, 'vm-put', uuid, what, { put })
        } finally {
            wipe(secrets)
        }
        broker.launchRefusals.delete(uuid)
        return viewVm(broker, uuid)
    })

/** One more launch may be validated than `confirm-after` says. @throws AttestError ERR_BROKER_NOT_FOUND, ERR_BROKER_REQUEST */
export const confirmVm = (broker: Broker, uuid: string): Promise<VmView> =>
    broker.change(async () => {
        const { limits, confirmed } = find(broker, uuid)
        const { maxLaunches, confirmAfter } = limits
        if (confirmAfter === null)
            throw brokerError('ERR_BROKER_REQUEST', `${uuid} needs no confirmation: it was registered without`)
        if (confirmAfter + confirmed >= maxLaunches)
            throw brokerError(
                'ERR_BROKER_REQUEST',
                `${uuid}: all of the ${maxLaunches} launches that it was registered with are confirmed already`,
                { hint: 'for more: `guest-attest broker launch rm`, and `register` with a larger --max-launches' },
            )
        await record(broker, 'vm-confirm', uuid, {})
        return viewVm(broker, uuid)
    })

/** The key of its last launch proves nothing any more. @throws AttestError ERR_BROKER_NOT_FOUND */
export const revokeVm = (broker: Broker, uuid: string): Promise<VmView> =>
    broker.change(async () => {
        const { client } = find(broker, uuid)
        if (!client) throw brokerError('ERR_BROKER_NOT_FOUND', `${uuid}: no launch of it has a key that counts`)
        await endClient(broker, uuid, client, 'revoked')
        return viewVm(broker, uuid)
    })

/** Ends what is over: launches under way, and keys of launches. */
export const sweepVms = (broker: Broker): Promise<void> => broker.change(() => endAllExpired(broker))

/** Forgets a guest; what is open ends, and the key of its last launch. @throws AttestError ERR_BROKER_NOT_FOUND */
export const removeVm = (broker: Broker, uuid: string): Promise<void> =>
    broker.change(async () => {
        for (const launch of openOf(find(broker, uuid))) await endLaunch(broker, uuid, launch, { outcome: 'removed' })
        const { client } = find(broker, uuid)
        if (client) await endClient(broker, uuid, client, 'removed')
        await record(broker, 'vm-rm', uuid, {}, { erase: secretsName(uuid).path })
        broker.launchRefusals.delete(uuid)
    })

/** @throws AttestError ERR_BROKER_NOT_FOUND */
export function viewVm(broker: Broker, uuid: string): VmView {
    const { digest: _digest, hostToken, launches, client, ...vm } = find(broker, uuid)
    return {
        ...vm,
        client: client && withoutDigest(client),
        hostToken: hostToken !== null,
        lastRefusal: broker.launchRefusals.get(uuid) ?? null,
        launches: launches.map(withoutDigest),
    }
}

const withoutDigest = <T extends { digest: string }>({ digest: _digest, ...rest }: T): Omit<T, 'digest'> => rest

function find({ data }: Broker, uuid: string): VmEntry {
    const vm = data.state.vms.get(uuid)
    demand(vm, 'guest', uuid)
    return vm
}
