// The section `[broker]` of the configuration: limits that protect a broker from many or slow peers.
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
