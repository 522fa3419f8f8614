// What the commands of `collateral` have in common: platforms as options of their own, evidence that names a platform, and
// the way to a service.
// SPDX-License-Identifier: Apache-2.0

import type { Options } from 'yargs'
import { AttestError, coreError, restated } from '#core/errors.ts'
import { openHttps } from '#core/https-get.ts'
import type { Evidence } from '#drivers/driver.ts'
import { checkRoots, readCertificates } from '#evidence/collateral.ts'
import { writeCollateralFolder } from '#evidence/collateral-folder.ts'
import { eachOnce, type Platform, type Served } from '#evidence/collateral-platforms.ts'
import type { GivenCollateral } from '#evidence/collateral-service.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import { PLUGINS } from '#plugins.ts'
import { many } from '../command.ts'
import { readEvidenceFile } from '../options/evidence-file.ts'

export const EVIDENCE_OPTION = {
    evidence: many('evidence of a guest, which names its platform; may be repeated'),
} as const

export const ROOT_OPTION = {
    'trust-root': many("trust this root (PEM) instead of the vendor's: an emulator's, a laboratory's"),
} as const

/** `--fmspc` and its like. */
export const platformOptions = (all: readonly Served[]): Record<string, Options> =>
    Object.fromEntries(all.map(({ service: { platform } }) => [platform.option, many(platform.describe)]))

/** The platforms that were named, each once, and those of the evidence. @throws AttestError ERR_USAGE */
export async function readPlatforms(
    args: Readonly<Record<string, unknown>>,
    all: readonly Served[],
): Promise<Platform[]> {
    const named = all.flatMap((served) =>
        (args[served.service.platform.option] as readonly string[]).map((text) => ({
            served,
            name: served.service.readPlatform(text),
        })),
    )
    const shown = (await readEvidence(args['evidence'] as readonly string[], all)).map(({ served, evidence }) => ({
        served,
        name: served.service.platformOf(evidence),
    }))
    return eachOnce([...named, ...shown])
}

/** @throws AttestError ERR_USAGE for evidence of a technology that has no such service */
export async function readEvidence(files: readonly string[], all: readonly Served[]) {
    const read = async (file: string): Promise<{ file: string; served: Served; evidence: Evidence }> => {
        const { evidence } = await readEvidenceFile(file)
        const served = all.find(({ id }) => id === evidence.tee)
        if (served) return { file, served, evidence }
        throw coreError('ERR_USAGE', `${file}: no collateral of ${evidence.tee} is fetched`)
    }
    return Promise.all(files.map(read))
}

/** @throws AttestError ERR_NOT_FOUND_FILE, ERR_EVIDENCE_TRUST */
export async function readRoots(paths: readonly string[]): Promise<{ readonly roots?: readonly NamedBytes[] }> {
    if (paths.length === 0) return {}
    const roots = paths.map(readCertificates)
    checkRoots(roots, await Promise.all(PLUGINS.map((plugin) => plugin.verifier(STRICT_TRUST))))
    return { roots }
}

/** The way to a service, as `collateral fetch`, `verify` and brokers are told it. */
export interface ServiceArgs {
    readonly source: string
    readonly update: string
    /** PEM. */
    readonly ca?: string | undefined
    readonly insecureHttp: boolean
}

/**
 * Fetches for one platform after the other, and writes what each came to.
 * @returns the names of files that are new
 * @throws AttestError of the plugin, ERR_HTTP_*, ERR_FILE
 */
export async function fetchInto(
    folder: string,
    platforms: readonly Platform[],
    present: (folder: string) => GivenCollateral,
    { source, update, ca, insecureHttp }: ServiceArgs,
    tell: (text: string) => void,
): Promise<string[]> {
    const client = await openHttps({ ca, insecureHttp })
    try {
        const changed: string[] = []
        for (const { served, name } of platforms) {
            tell(`asking ${source} for the collateral of ${name}`)
            const wanted = { platform: name, source, update, present: present(folder) }
            const files = await served.service.fetch(wanted, { get: client.get, now: new Date() }).catch(withWayOut)
            changed.push(...writeCollateralFolder(folder, files))
        }
        return changed
    } finally {
        await client.close()
    }
}

/** Of a machine that reaches nobody. */
const UNREACHED = ['ERR_HTTP_CONNECT', 'ERR_HTTP_TIMEOUT']

function withWayOut(error: unknown): never {
    if (!(error instanceof AttestError) || !UNREACHED.includes(error.code)) throw error
    throw restated(
        error,
        error.message,
        'without a way to it: `collateral fetch` and `collateral export` on another machine, and --collateral with what that wrote; or --pccs with a cache that is nearer, or --from azure',
    )
}
