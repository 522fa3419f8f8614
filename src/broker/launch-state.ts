// Guests that are proved before they run, as the audit log adds up to them: what their owners registered, the launches that
// are open, and the last ones that ended.
// SPDX-License-Identifier: Apache-2.0

import type { InjectedBroker } from '#drivers/driver.ts'
import type { LaunchTerms } from '#evidence/launch.ts'
import type { StoredRecord } from './store/store.ts'

export interface VmLimits {
    /** Launches that are validated at most. */
    readonly maxLaunches: number
    /** From which on the owner confirms each; null: never. */
    readonly confirmAfter: number | null
    /** At once. */
    readonly maxOpen: number
    /** After which an open one ends. */
    readonly launchSeconds: number
}

/** How a launch ended. */
export interface LaunchEnd {
    readonly outcome: 'validated' | 'denied' | 'expired' | 'removed'
    readonly time: string
    /** Of a denial: what a host is not told. */
    readonly code: string | null
    readonly detail: string | null
    readonly measured: LaunchTerms | null
}

export interface LaunchEntry {
    readonly id: string
    readonly time: string
    readonly expires: string
    /** The address that it was asked from. */
    readonly peer: string
    readonly platform: LaunchTerms
    /** Of the sealed row of its keys. */
    readonly digest: string
    readonly end: LaunchEnd | null
}

/** What a guest is told of the broker whose launch it was; the pin is that of the listener, when the launch is validated. */
export interface GuestBroker extends Omit<InjectedBroker, 'pins'> {
    /** How long the key of a launch lasts. */
    readonly seconds: number
}

/** The key of a launch: one for each guest, that of its last launch. */
export interface ClientEntry {
    /** Of the launch. */
    readonly id: string
    readonly time: string
    readonly expires: string
    readonly platform: LaunchTerms
    readonly measured: LaunchTerms
    /** Of the sealed row of the key. */
    readonly digest: string
}

export interface VmEntry {
    readonly uuid: string
    readonly scheme: string
    readonly terms: LaunchTerms
    readonly weaknesses: readonly string[]
    readonly limits: VmLimits
    /** SHA-256 of what its hosts have to know, hex. */
    readonly hostToken: string | null
    /** Null: its launches get no key. */
    readonly broker: GuestBroker | null
    /** Null: no key proves it. */
    readonly client: ClientEntry | null
    /** Of the sealed row of its secrets. */
    readonly digest: string
    readonly time: string
    readonly validated: number
    /** Launches that the owner has confirmed. */
    readonly confirmed: number
    /** Those that are open, and the last that ended, in their order. */
    readonly launches: readonly LaunchEntry[]
}

/** What records of a guest say. */
export type VmRecordKind = 'vm-put' | 'vm-rm' | 'vm-confirm' | 'launch-open' | 'launch-end' | 'client-end'

/** Launches that ended and are still shown; the audit log has all. */
const MAX_ENDED = 16

// biome-ignore lint/suspicious/noExplicitAny: each kind has data of its own, which this program has written
type Effect = (record: StoredRecord, data: any) => void

export function vmEffects(vms: Map<string, VmEntry>): Readonly<Record<VmRecordKind, Effect>> {
    const change = (uuid: string, changed: (vm: VmEntry) => Partial<VmEntry>) => {
        const vm = vms.get(uuid)
        if (vm) vms.set(uuid, { ...vm, ...changed(vm) })
    }
    return {
        'vm-put': ({ subject: uuid, time }, { scheme, terms, weaknesses, limits, hostToken, broker = null, digest }) =>
            vms.set(uuid, {
                ...{ uuid, scheme, terms, weaknesses, limits, hostToken, broker, digest, time },
                ...{ client: null, validated: 0, confirmed: 0, launches: [] },
            }),
        'vm-rm': ({ subject }) => vms.delete(subject),
        'vm-confirm': ({ subject }) => change(subject, ({ confirmed }) => ({ confirmed: confirmed + 1 })),
        'launch-open': ({ subject, time }, { id, expires, peer, platform, digest }) =>
            change(subject, ({ launches }) => ({
                launches: [...launches, { id, time, expires, peer, platform, digest, end: null }],
            })),
        'launch-end': ({ subject, time }, { id, outcome, code, detail, measured, client }) =>
            change(subject, ({ launches, validated, client: before }) => ({
                validated: validated + (outcome === 'validated' ? 1 : 0),
                client: outcome === 'validated' ? clientOf(launches, { id, time, measured }, client) : before,
                launches: last(
                    launches.map((launch) =>
                        launch.id === id ? { ...launch, end: { outcome, time, code, detail, measured } } : launch,
                    ),
                ),
            })),
        'client-end': ({ subject }, { id }) =>
            change(subject, ({ client }) => (client?.id === id ? { client: null } : {})),
    }
}

// Whatever key there was before ends with the launch that is validated now.
function clientOf(
    launches: readonly LaunchEntry[],
    { id, time, measured }: Pick<ClientEntry, 'id' | 'time' | 'measured'>,
    made: Pick<ClientEntry, 'digest' | 'expires'> | null,
): ClientEntry | null {
    const platform = launches.find((launch) => launch.id === id)?.platform
    return made && platform ? { id, time, measured, platform, expires: made.expires, digest: made.digest } : null
}

function last(launches: readonly LaunchEntry[]): readonly LaunchEntry[] {
    let ended = launches.filter(({ end }) => end).length
    return launches.filter(({ end }) => !end || ended-- <= MAX_ENDED)
}
