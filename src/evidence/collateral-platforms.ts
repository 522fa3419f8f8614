// The technologies whose vendors hand collateral out, and the platforms of a folder: what brokers and the commands of
// `collateral` fetch for.
// SPDX-License-Identifier: Apache-2.0

import type { CollateralService, GivenCollateral } from './collateral-service.ts'

/** A technology whose vendor hands collateral out. */
export interface Served {
    readonly id: string
    readonly title: string
    readonly service: CollateralService
}

/** A platform of a technology. */
export interface Platform {
    readonly served: Served
    readonly name: string
}

/** What this needs to know of a manifest. */
interface Serving {
    readonly id: string
    readonly title: string
    collateral?(): Promise<CollateralService>
}

export async function servedTechnologies(plugins: readonly Serving[]): Promise<Served[]> {
    const served: Served[] = []
    for (const { id, title, collateral } of plugins)
        if (collateral) served.push({ id, title, service: await collateral() })
    return served
}

/** The platforms that something is there for. @throws AttestError of the plugin */
export const platformsThere = (all: readonly Served[], given: GivenCollateral): Platform[] =>
    all.flatMap((served) => served.service.platformsIn(given).map((name) => ({ served, name })))

/** Each once, in their order. */
export const eachOnce = (platforms: readonly Platform[]): Platform[] =>
    platforms.filter(
        ({ served, name }, index) =>
            platforms.findIndex((other) => other.served.id === served.id && other.name === name) === index,
    )
