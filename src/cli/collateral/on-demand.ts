// `verify --pccs`: fetches what evidence is judged by where the folder has it not, or has what has expired, and never asks
// for what is there.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { AttestError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import type { Evidence } from '#drivers/driver.ts'
import { readCollateralFolder } from '#evidence/collateral-folder.ts'
import { servedTechnologies } from '#evidence/collateral-platforms.ts'
import { recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { PLUGINS } from '#plugins.ts'
import { note } from '../term.ts'
import { fetchInto, readRoots } from './options.ts'
import { serviceOf } from './service.ts'

export const ON_DEMAND_OPTIONS = {
    pccs: {
        type: 'string',
        describe: 'fetch missing collateral from this cache of the vendor’s service, https://HOST[:PORT]',
    },
    from: { type: 'string', describe: 'or from a public service, see `collateral fetch`' },
    ca: { type: 'string', describe: 'the CA (PEM) of such a cache, instead of the system’s' },
    update: { type: 'string', default: 'standard', describe: 'which of the vendor’s sets is fetched' },
    'insecure-http': { type: 'boolean', default: false, describe: 'plain http for --pccs, to a loopback address only' },
} as const

export interface OnDemandArgs {
    readonly pccs?: string | undefined
    readonly from?: string | undefined
    readonly ca?: string | undefined
    readonly update: string
    readonly insecureHttp: boolean
    readonly collateral?: string | undefined
    readonly trustRoot: readonly string[]
    readonly offline: boolean
}

/** Where what was fetched is kept, and found by the next call, unless a folder was named. */
const cacheFolder = (): string =>
    process.geteuid?.() === 0
        ? '/var/cache/guest-attest/collateral'
        : join(homedir(), '.cache', 'guest-attest', 'collateral')

/**
 * The collateral to judge by: what was named, or the folder where it is now.
 * @throws AttestError ERR_USAGE, ERR_HTTP_*, and of the plugin: with exit 3 where it cannot be had
 */
export async function collateralFor(bytes: Buffer, args: OnDemandArgs, at: Date): Promise<string | undefined> {
    if (args.pccs === undefined && args.from === undefined) return args.collateral
    const folder = args.collateral ?? cacheFolder()
    const all = await servedTechnologies(PLUGINS)
    const service = serviceOf(args, all, readInput)
    const roots = await readRoots(args.trustRoot)
    const present = (path: string) => ({ ...readCollateralFolder(path), ...roots })
    const evidence = await evidenceIn(bytes)
    const served = all.find(({ id }) => id === evidence?.tee)
    // A cache that nobody named need not be there.
    const found = existsSync(folder) ? folder : args.collateral
    if (args.offline || !evidence || !served) return found
    const { platform, until } = served.service.outlook(present(folder), evidence, at)
    if (until !== null && until >= at) return found
    await fetchInto(folder, [{ served, name: platform }], present, service, note)
    return folder
}

// What cannot be read is for the judgement to say.
async function evidenceIn(bytes: Buffer): Promise<Evidence | null> {
    try {
        return recognise(bytes, await Promise.all(PLUGINS.map((plugin) => plugin.verifier(STRICT_TRUST)))).evidence
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}
