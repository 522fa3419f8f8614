// The sections `[broker]` and `[collateral]` of the configuration: limits that protect a broker from many or slow peers,
// and where it has vendors' statements from.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { section, setting, type Values } from '#core/config.ts'
import { MAX_ATTESTATION_BYTES } from '#kbs/messages.ts'

const count = (most: number) => () => z.int().check(z.gte(1), z.lte(most))

const MIB = 1024 * 1024

/** Less would not hold the largest attestation. */
const forBodies = () => z.int().check(z.gte(MAX_ATTESTATION_BYTES), z.lte(64 * 1024 * MIB))

export const BROKER_CONFIG = section('broker', {
    data: setting(
        () => z.string().check(z.startsWith('/')),
        '/var/lib/guest-attest',
        'folder of the broker’s data and keys',
    ),
    listen: setting(() => z.string(), '127.0.0.1:8443', 'address and port that guests connect to'),
    maxConnections: setting(count(100_000), 2000, 'connections at once'),
    maxConnectionsPerAddress: setting(count(100_000), 256, 'connections at once from one address (IPv6: one /64)'),
    maxBodiesBytes: setting(forBodies, 256 * MIB, 'memory for the bodies of requests that are under way at once'),
    maxBodiesPerAddressBytes: setting(forBodies, 32 * MIB, 'what of it one address (IPv6: one /64) may hold'),
    maxSessions: setting(count(1_000_000), 20_000, 'guests that have proved themselves and hold a session'),
    maxSessionsPerAddress: setting(count(1_000_000), 10_000, 'of these, from one address (IPv6: one /64)'),
    ratePerMinute: setting(
        count(10_000_000),
        6000,
        'requests a minute from one address (IPv6: one /64) to /auth, to /attest, to /resource, and to the rest',
    ),
    requestTimeoutMs: setting(count(600_000), 30_000, 'time for a whole request to arrive'),
    idleTimeoutMs: setting(count(600_000), 60_000, 'time after which a silent connection is closed'),
    maxResourceBytes: setting(count(16 * MIB), MIB, 'largest resource that can be stored'),
    publicMetrics: setting(
        z.boolean,
        false,
        'serve /metrics to everybody, not only over the admin socket and to peers on loopback',
    ),
})

export type BrokerSettings = Values<typeof BROKER_CONFIG>

export const COLLATERAL_CONFIG = section('collateral', {
    service: setting(
        () => z.string(),
        '',
        'where a broker fetches collateral in the background: a public service by its name (`collateral fetch --help`), or https://HOST[:PORT]; nowhere unless told',
    ),
    ca: setting(() => z.string(), '', 'file with the CA (PEM) of such a host, instead of the system’s'),
    update: setting(() => z.string().check(z.minLength(1)), 'standard', 'which of the vendor’s sets'),
    platforms: setting(
        () => z.array(z.string()),
        [] as string[],
        'platforms to fetch for beside those that the folder has: TECHNOLOGY/PLATFORM',
    ),
    refreshHours: setting(count(30 * 24), 24, 'hours from one round to the next'),
})

export type CollateralSettings = Values<typeof COLLATERAL_CONFIG>
