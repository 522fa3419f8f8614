// The keys of launches that were validated: what a guest without reports proves itself with. One for each guest, that of
// its last launch, until it expires, its owner ends it, or another launch is validated. Sealed at rest and in memory; the
// audit log says which of them count.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { CLIENT_KEY_SIZE } from '#core/sizes.ts'
import type { LaunchClient, LaunchedGuests } from '#evidence/launch.ts'
import type { Clock } from './broker.ts'
import type { Data } from './data.ts'
import { brokerError } from './errors.ts'
import type { ClientEntry, VmEntry } from './launch-state.ts'
import { digestResource, openRecorded, type ResourceName, sealResource } from './store/seal.ts'
import type { SealedResource } from './store/store.ts'

/** A key that was made for a launch, and what is recorded of it. */
export interface MadeClient {
    readonly client: LaunchClient
    readonly put: SealedResource
    readonly entry: Pick<ClientEntry, 'digest' | 'expires'>
}

export interface Clients extends LaunchedGuests {
    /** Null where the guest is to get none. The caller wipes the key. @throws AttestError ERR_BROKER_LAUNCH */
    make(vm: VmEntry, id: string): MadeClient | null
    /** Knows the row of a key from now on; whether it counts, the state says. */
    keep(uuid: string, id: string, row: SealedResource): void
    forget(id: string): void
}

interface Held {
    readonly uuid: string
    readonly row: SealedResource
}

export interface ClientsOptions {
    readonly data: Pick<Data, 'state' | 'store' | 'masterKey'>
    readonly clock: Clock
    /** The pin of the listener; null where it has none. */
    readonly pin: () => string | null
    /** Hears of a key whose time is over, at the first look at it: it counts no more from then on. */
    readonly expired: (uuid: string, id: string) => void
}

/** Where the row of a key stands: no guest can name it. */
export const clientName = (id: string): ResourceName => ({ path: `client:${id}`, kind: 'client', version: 1 })

export async function openClients({ data, clock, pin, expired }: ClientsOptions): Promise<Clients> {
    const { state, store, masterKey } = data
    const held = new Map<string, Held>()
    for (const { uuid, client } of state.vms.values()) {
        if (!client) continue
        const { path, version } = clientName(client.id)
        const row = await store.resource(path, version)
        if (row) held.set(client.id, { uuid, row })
    }
    return {
        make({ broker }, id) {
            if (!broker) return null
            const key = secret(randomBytes(CLIENT_KEY_SIZE))
            const put = sealResource(masterKey, clientName(id), key)
            const expires = new Date(clock.now().getTime() + broker.seconds * 1000).toISOString()
            const { url, allowPaths } = broker
            return {
                client: { id, key, broker: { url, allowPaths, pins: [requirePin(pin())] } },
                put,
                entry: { digest: digestResource(put), expires },
            }
        },
        keep: (uuid, id, row) => void held.set(id, { uuid, row }),
        forget: (id) => void held.delete(id),
        find(id) {
            const row = held.get(id)
            const vm = row && state.vms.get(row.uuid)
            const client = vm?.client
            if (!row || !client || client.id !== id) return null
            if (hasExpired(client, clock)) {
                // For good: a clock that is put back gives it no more time.
                held.delete(id)
                expired(vm.uuid, id)
                return null
            }
            const { platform, measured, time, expires, digest } = client
            return {
                ...{ id, vm: vm.uuid, terms: vm.terms, platform, measured, time, expires },
                allowPaths: vm.broker?.allowPaths ?? [],
                withKey: (use) => withRow(row.row, digest, masterKey, use),
            }
        },
    }
}

export const hasExpired = ({ expires }: Pick<ClientEntry, 'expires'>, clock: Clock): boolean =>
    expires <= clock.now().toISOString()

/** @throws AttestError ERR_BROKER_LAUNCH: without it the guest could not tell this broker from another */
export function requirePin(pin: string | null): string {
    if (pin !== null) return pin
    throw brokerError('ERR_BROKER_LAUNCH', 'this broker serves plain HTTP: a guest could not know it by its key')
}

function withRow<T>(row: SealedResource, digest: string, masterKey: Data['masterKey'], use: (key: Secret) => T): T {
    const { path, version } = row
    const key = openRecorded(masterKey, { path, version, digest }, row)
    try {
        return use(key)
    } finally {
        wipe(key)
    }
}
