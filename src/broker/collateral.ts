// Keeps a broker's folder of collateral fresh: asks a certificate service in the background for the platforms that are
// configured or already there, and never while a guest waits. What has been verified replaces what is there; where
// anything goes wrong the last good files stay, and the log says so each time.
// SPDX-License-Identifier: Apache-2.0

import { canPass, coreError, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { openHttps } from '#core/https-get.ts'
import type { Logger } from '#core/log.ts'
import { readCollateralFolder, writeCollateralFolder } from '#evidence/collateral-folder.ts'
import {
    eachOnce,
    type Platform,
    platformsThere,
    type Served,
    servedTechnologies,
} from '#evidence/collateral-platforms.ts'
import type { CollateralItem, GivenCollateral, HttpGet } from '#evidence/collateral-service.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Plugin } from '#plugins/plugin.ts'
import type { Clock } from './broker.ts'
import type { CollateralSettings } from './config.ts'

export interface Keeper {
    /** One round. Never rejects: what goes wrong is logged. @returns whether everything was fetched */
    refresh(): Promise<boolean>
    close(): Promise<void>
}

export interface KeeperOptions {
    readonly settings: CollateralSettings
    readonly plugins: readonly Plugin[]
    readonly folder: string
    readonly roots: readonly NamedBytes[] | undefined
    readonly log: Logger
    readonly clock: Clock
    /** Called when files have changed. */
    readonly changed: () => Promise<void>
    /** Plain http, to a loopback address only: tests. */
    readonly insecureHttp?: boolean
}

const HOUR_MS = 60 * 60 * 1000

/** After a round that failed. */
const RETRY_MS = HOUR_MS / 4

/** What expires this soon is told at each round. */
const SOON_MS = 7 * 24 * HOUR_MS

/**
 * Null where no service is configured.
 * @throws AttestError ERR_CONFIG for a platform that nobody knows; ERR_NOT_FOUND_FILE, ERR_FILE for the CA
 */
export async function openKeeper(options: KeeperOptions): Promise<Keeper | null> {
    const { settings, plugins, log } = options
    if (settings.service === '') return null
    const services = await servedTechnologies(plugins)
    const configured = settings.platforms.map((text) => readTarget(text, services))
    const ca = settings.ca === '' ? undefined : readInput(settings.ca).toString('latin1')
    const closing = new AbortController()
    let timer: NodeJS.Timeout | undefined
    let running: Promise<boolean> | undefined

    const refresh = () => {
        running ??= round(options, services, configured, ca, closing.signal).finally(() => {
            running = undefined
        })
        return running
    }
    const turn = async () => {
        const isDone = await refresh()
        if (closing.signal.aborted) return
        timer = setTimeout(() => void turn(), isDone ? settings.refreshHours * HOUR_MS : RETRY_MS).unref()
    }
    log.info('collateral is fetched in the background', { service: settings.service, folder: options.folder })
    void turn()
    return {
        refresh,
        async close() {
            closing.abort()
            clearTimeout(timer)
            await running
        },
    }
}

async function round(
    options: KeeperOptions,
    services: readonly Served[],
    configured: readonly Platform[],
    ca: string | undefined,
    signal: AbortSignal,
): Promise<boolean> {
    const { settings, folder, log, insecureHttp = false } = options
    const client = await openHttps({ ca, insecureHttp, signal })
    let failures = 0
    const fail = (what: string, error: unknown, fields: object = {}) => {
        failures++
        if (!signal.aborted)
            log.error(`${what}; what is there stays`, {
                service: settings.service,
                ...fields,
                reason: messageOf(error),
                passes: canPass(error),
            })
    }
    try {
        const given = () => ({ ...readCollateralFolder(folder), ...(options.roots ? { roots: options.roots } : {}) })
        const targets = eachOnce([...configured, ...platformsThere(services, given())])
        const changed: string[] = []
        for (const target of targets) {
            if (signal.aborted) break
            try {
                changed.push(...(await fetchOne(target, options, given(), client.get)))
            } catch (error) {
                fail('collateral could not be fetched', error, { platform: target.name })
            }
        }
        if (changed.length > 0) {
            log.info('collateral was renewed', { folder, files: changed.length })
            await options.changed()
        }
        warn(services, given(), options)
    } catch (error) {
        fail('the folder of collateral cannot be used', error, { folder })
    } finally {
        await client.close()
    }
    return failures === 0
}

async function fetchOne(
    { served: { service }, name: platform }: Platform,
    { settings, folder, clock }: KeeperOptions,
    present: GivenCollateral,
    get: HttpGet,
): Promise<string[]> {
    const wanted = { platform, source: settings.service, update: settings.update, present }
    return writeCollateralFolder(folder, await service.fetch(wanted, { get, now: clock.now() }))
}

function warn(services: readonly Served[], given: GivenCollateral, { clock, log, folder }: KeeperOptions): void {
    const now = clock.now()
    const isSoon = ({ superseded, expires }: CollateralItem) =>
        !superseded && expires.getTime() < now.getTime() + SOON_MS
    for (const { service } of services)
        for (const { what, source, expires } of service.describe(given, now).filter(isSoon))
            log.warn(expires < now ? 'collateral has expired' : 'collateral expires soon', {
                what,
                source,
                expires: expires.toISOString(),
                folder,
            })
}

// `ID/PLATFORM`.
function readTarget(text: string, services: readonly Served[]): Platform {
    const [id = '', platform = ''] = text.split('/')
    const served = services.find((one) => one.id === id)
    if (!served)
        throw coreError(
            'ERR_CONFIG',
            `collateral.platforms: ${JSON.stringify(text)}: expected ${services.map((one) => one.id).join(' or ')}, a slash, and a platform`,
        )
    return { served, name: served.service.readPlatform(platform) }
}
