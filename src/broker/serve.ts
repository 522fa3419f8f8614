// A broker that serves: one listener for guests, one socket for its administrator, and an orderly end.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, rmSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { DAY_MS } from '#core/dates.ts'
import { messageOf } from '#core/errors.ts'
import { isLoopback } from '#core/loopback.ts'
import { type Broker, type BrokerOptions, openBroker } from './broker.ts'
import { type Keeper, openKeeper } from './collateral.ts'
import type { CollateralSettings } from './config.ts'
import { brokerError } from './errors.ts'
import { addAdminRoutes } from './http/admin-routes.ts'
import { bodies } from './http/bodies.ts'
import { addEnrollRoutes } from './http/enroll-routes.ts'
import { addKbsRoutes, refusedUnproven } from './http/kbs-routes.ts'
import { addHostRoutes, addOwnerRoutes } from './http/launch-routes.ts'
import { limitConnections } from './http/limits.ts'
import { adminProblemOf } from './http/problems.ts'
import { type App, createApp } from './http/server.ts'
import { sweepVms } from './launches.ts'
import { formatListen, type ListenAddress } from './listen.ts'
import { shares } from './shares.ts'
import { givenIdentity, mintedIdentity, type TlsIdentity } from './tls.ts'

export interface ServeOptions extends BrokerOptions {
    readonly listen: ListenAddress
    /** The operator's certificate and key; the broker's own unless given. */
    readonly tls?: { readonly certificate: string; readonly key: string }
    /** Plain HTTP, on loopback alone. */
    readonly insecureHttp?: boolean
    /** Where collateral is fetched from in the background; nowhere unless told. */
    readonly service?: CollateralSettings
}

export interface Serving {
    readonly broker: Broker
    readonly url: string
    /** What guests pin; null for plain HTTP. */
    readonly pin: string | null
    readonly caPath: string | null
    /** Looks for new certificates and revocation lists, and for a certificate that ends soon. */
    reload(): Promise<void>
    /** Answers what was asked, then ends. */
    close(): Promise<void>
}

const RENEWAL_MS = DAY_MS

/** How often launches and keys are looked at whose time is over. */
const SWEEP_MS = 60_000

/** What is not answered by then is cut off. */
const DRAIN_MS = 10_000

/** Time for TLS handshakes and for the head of a request. */
const HEAD_MS = 10_000

/** How often the limits of time are looked after. */
const CHECK_MS = 500

const MAX_HEADER_BYTES = 16 * 1024

/** sockaddr_un: 108 bytes with the zero behind them. */
const MAX_SOCKET_PATH = 107

/** @throws AttestError what openBroker says, and ERR_BROKER_TLS, ERR_BROKER_LISTEN */
export async function serve(options: ServeOptions): Promise<Serving> {
    const { listen, tls, insecureHttp = false, clock, log } = options
    if (insecureHttp && !isLoopback(listen.host))
        throw brokerError('ERR_BROKER_TLS', `plain HTTP is for loopback alone, not for ${listen.host}`)
    const broker = await openBroker(options)
    const identity = async (): Promise<TlsIdentity | null> => {
        if (insecureHttp) return null
        return tls ? givenIdentity(tls.certificate, tls.key) : mintedIdentity(broker.data, listen.host, clock.now())
    }
    const apps: App[] = []
    let keeper: Keeper | null = null
    try {
        let shown = await identity()
        broker.listener.pin = shown?.pin ?? null
        const guests = await openGuests(broker, shown)
        apps.push(guests)
        const admin = await openAdmin(broker)
        apps.push(admin)
        await takeAddress(() => guests.listen({ host: listen.host, port: listen.port }), formatListen(listen))
        const { port } = guests.server.address() as AddressInfo
        await listenOnSocket(admin, broker.data.paths.socket)

        const reload = async () => {
            await broker.verifiers.refresh()
            try {
                const next = await identity()
                if (next && next.certificate !== shown?.certificate) {
                    ;(guests.server as unknown as TlsServer).setSecureContext({ ...secureContext(next) })
                    log.info('the listener shows a new certificate')
                }
                shown = next
                broker.listener.pin = next?.pin ?? null
            } catch (error) {
                log.error('the listener’s certificate could not be renewed', { reason: messageOf(error) })
            }
        }
        keeper = await openServiceKeeper(broker, options)
        const sweep = () =>
            sweepVms(broker).catch((error: unknown) => log.error('what is over was not ended', { error }))
        await sweep()
        const timers = [
            setInterval(() => void reload(), RENEWAL_MS).unref(),
            setInterval(() => void sweep(), SWEEP_MS).unref(),
        ]
        return {
            broker,
            url: `${shown ? 'https' : 'http'}://${formatListen({ host: listen.host, port })}`,
            pin: shown?.pin ?? null,
            caPath: shown?.caPath ?? null,
            reload,
            async close() {
                for (const timer of timers) clearInterval(timer)
                await Promise.all([keeper?.close(), ...apps.map(drain)])
                await broker.close()
            },
        }
    } catch (error) {
        await Promise.all(apps.map((app) => app.close()))
        await broker.close()
        throw error
    }
}

// After the listener: a service that hangs keeps no guest waiting.
async function openServiceKeeper(broker: Broker, { service, roots, collateral }: ServeOptions): Promise<Keeper | null> {
    if (!service) return null
    const { plugins, log, clock, data, verifiers } = broker
    return openKeeper({
        settings: service,
        plugins,
        folder: collateral ?? data.paths.collateral,
        roots,
        log,
        clock,
        changed: verifiers.refresh,
    })
}

async function openGuests(broker: Broker, identity: TlsIdentity | null): Promise<App> {
    const { requestTimeoutMs, idleTimeoutMs, maxConnections, ratePerMinute } = broker.settings
    const { maxConnectionsPerAddress, maxBodiesBytes, maxBodiesPerAddressBytes } = broker.settings
    const read = bodies(shares({ most: maxBodiesBytes, mostOfOne: maxBodiesPerAddressBytes }))
    const server = {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: Math.min(HEAD_MS, requestTimeoutMs),
        connectionsCheckingInterval: CHECK_MS,
    }
    const app = await createApp(broker, {
        title: 'guest-attest broker',
        description: 'The key broker protocol 0.4.0: a guest proves what it is, and gets what it may have.',
        refused: refusedUnproven(broker),
        bodies: read,
        ratePerMinute,
        options: {
            requestTimeout: requestTimeoutMs,
            connectionTimeout: idleTimeoutMs,
            keepAliveTimeout: idleTimeoutMs,
            forceCloseConnections: 'idle',
            ...(identity
                ? { https: { ...server, ...secureContext(identity), handshakeTimeout: HEAD_MS } }
                : { http: server }),
        } as object,
    })
    // Above this nobody is even asked for an address.
    app.server.maxConnections = maxConnections
    limitConnections(app.server, shares({ most: maxConnections, mostOfOne: maxConnectionsPerAddress }), () => {
        broker.metrics.count('refusals', 'ERR_KBS_BUSY')
        broker.noise.count('ERR_KBS_BUSY')
    })
    await addKbsRoutes(app, broker, { secure: identity !== null, bodies: read })
    await addEnrollRoutes(app, broker)
    if (broker.launch) addHostRoutes(app, broker, broker.launch)
    return app
}

async function openAdmin(broker: Broker): Promise<App> {
    const app = await createApp(broker, {
        title: 'guest-attest broker: administration',
        description: 'Over the unix socket in the broker’s folder alone: whoever may open it may do everything.',
        options: { forceCloseConnections: true } as object,
        bodies: bodies(shares({ most: Infinity, mostOfOne: Infinity })),
        tell: adminProblemOf,
    })
    await addAdminRoutes(app, broker)
    if (broker.launch) await addOwnerRoutes(app, broker, broker.launch)
    return app
}

const secureContext = ({ certificate, key }: TlsIdentity) =>
    ({ cert: certificate, key, minVersion: 'TLSv1.3' }) as const

// The folder is closed to others, and so is the socket; one that a killed broker left is nobody's: we hold the lock.
async function listenOnSocket(app: App, path: string): Promise<void> {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
        throw brokerError('ERR_BROKER_LISTEN', `${path}: a socket's path has at most ${MAX_SOCKET_PATH} bytes`, {
            hint: 'choose a folder with a shorter name',
        })
    rmSync(path, { force: true })
    await takeAddress(() => app.listen({ path }), path)
    chmodSync(path, 0o600)
}

async function takeAddress(listen: () => Promise<string>, address: string): Promise<void> {
    try {
        await listen()
    } catch (cause) {
        throw brokerError('ERR_BROKER_LISTEN', `cannot listen on ${address}: ${messageOf(cause)}`, { cause })
    }
}

async function drain(app: App): Promise<void> {
    const timer = setTimeout(
        () => (app.server as Server & { closeAllConnections(): void }).closeAllConnections(),
        DRAIN_MS,
    )
    try {
        await app.close()
    } finally {
        clearTimeout(timer)
    }
}
