// A broker, opened: its data, what it judges by, its rules, and the guests that are in a session.
// SPDX-License-Identifier: Apache-2.0

import type { Logger } from '#core/log.ts'
import type { LaunchService } from '#evidence/launch.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { type Denials, denials } from './audit/denials.ts'
import { type Noise, noise } from './audit/noise.ts'
import type { Draft } from './audit/record.ts'
import type { BrokerSettings } from './config.ts'
import { type Data, type MadeKey, openData } from './data.ts'
import { type Technology, technologiesOf } from './decision/schema.ts'
import { type Clients, openClients } from './launch-clients.ts'
import { endExpiredClient } from './launch-ends.ts'
import type { HostRefusal } from './launch-hosts.ts'
import { type Metrics, metrics } from './metrics.ts'
import { openRules, type Rules } from './rules.ts'
import { type Sessions, sessions } from './sessions.ts'
import { openVerifiers, requireRoots, type Verifiers } from './trust.ts'

/** Time, as an argument: the calendar, and a clock that nobody sets. */
export interface Clock {
    now(): Date
    /** Milliseconds since some moment. */
    ticks(): number
}

export interface BrokerOptions {
    /** This program and its version, for the tokens. */
    readonly build: string
    readonly folder: string
    readonly settings: BrokerSettings
    readonly plugins: readonly Plugin[]
    /** The technology whose guests are proved before they run. */
    readonly launched?: Pick<Plugin, 'launch'>
    readonly log: Logger
    readonly clock: Clock
    /** Make what is missing in a folder without data. */
    readonly init: boolean
    /** Hears of each key file as it is made. */
    readonly made?: (key: MadeKey) => void
    /** The file of the master key, where it is not in the folder. */
    readonly masterKey?: string | undefined
    /** Root certificates that replace the vendors'. */
    readonly roots?: readonly NamedBytes[]
    /** Folder of certificates and revocation lists, which must be there; the one in the broker's own folder unless told. */
    readonly collateral?: string
}

export interface Broker {
    readonly build: string
    readonly settings: BrokerSettings
    readonly plugins: readonly Plugin[]
    /** What the policies may speak of. */
    readonly technologies: readonly Technology[]
    readonly log: Logger
    readonly clock: Clock
    readonly data: Data
    readonly verifiers: Verifiers
    readonly rules: Rules
    readonly sessions: Sessions
    readonly metrics: Metrics
    readonly noise: Noise
    readonly denials: Denials
    /** Null: nothing is launched. */
    readonly launch: LaunchService | null
    /** The last of each guest, by its UUID. */
    readonly launchRefusals: Map<string, HostRefusal>
    /** The keys of launches that count. */
    readonly clients: Clients
    /** What guests know the listener by, when it listens; null for plain HTTP. */
    readonly listener: { pin: string | null }
    /** Runs one change of the state after the other. */
    change<T>(change: () => Promise<T>): Promise<T>
    close(): Promise<void>
}

/** @throws AttestError what requireRoots, openData, openVerifiers say */
export async function openBroker(options: BrokerOptions): Promise<Broker> {
    const { build, folder, settings, plugins, log, clock, init, roots } = options
    await requireRoots(plugins, roots ?? [])
    const data = await openData(folder, { init, now: clock.now, made: options.made, masterKey: options.masterKey })
    try {
        const collateral = {
            path: options.collateral ?? data.paths.collateral,
            named: options.collateral !== undefined,
        }
        const listener: Broker['listener'] = { pin: null }
        const clients = await openClients({
            data,
            clock,
            pin: () => listener.pin,
            expired: (uuid, id) =>
                void endExpiredClient(broker, uuid, id).catch((error: unknown) =>
                    log.error('the end of a key was not recorded', { error }),
                ),
        })
        const verifiers = await openVerifiers({ plugins, roots, collateral, log, launches: clients })
        const technologies = await technologiesOf(plugins)
        const rules = openRules({ state: data.state, technologies, verifiers: () => verifiers.current, log })
        const append = (draft: Draft) => {
            data.ledger.append(draft).catch((error: unknown) => log.error('counts were not recorded', { error }))
        }
        const counters = { noise: noise(append, clock.now), denials: denials(append, clock) }
        let last: Promise<unknown> = Promise.resolve()
        const broker: Broker = {
            build,
            settings,
            plugins,
            technologies,
            log,
            clock,
            data,
            verifiers,
            rules,
            sessions: sessions({ ...settings, ticks: clock.ticks }),
            metrics: metrics(),
            launch: (await options.launched?.launch?.()) ?? null,
            launchRefusals: new Map(),
            clients,
            listener,
            ...counters,
            change(change) {
                const next = last.then(change, change)
                last = next.catch(() => undefined)
                return next
            },
            async close() {
                for (const counter of Object.values(counters)) {
                    counter.flush()
                    counter.close()
                }
                verifiers.close()
                await data.close()
                rules.policies.close()
            },
        }
        return broker
    } catch (error) {
        await data.close()
        throw error
    }
}
