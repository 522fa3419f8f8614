// Which brokers and which resource a command on a disk is about: as told, as the volume table has it, or the one broker
// that is trusted; and what of this machine it needs for that.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, secret } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { parseOrigin } from '#core/http.ts'
import { lineLogger, stderrSink } from '#core/log.ts'
import { CONFIG_FOLDER, RUN_FOLDER } from '#core/role.ts'
import { libc } from '#drivers/linux/libc.ts'
import { formatResourcePath, parseResourcePath, type ResourcePath } from '#kbs/messages.ts'
import type { Resource } from '#luks/bind.ts'
import { isUuid } from '#luks/header.ts'
import type { Denials } from '#unlock/denials.ts'
import { type ReleaseDeps, release } from '#unlock/release.ts'
import { type BootVolume, opensBySecret, readVolumes } from '#unlock/volumes.ts'
import { guestAnchors } from '../anchors.ts'
import { many } from '../command.ts'
import { readConfig } from '../settings.ts'
import { PROGRAM } from '../term.ts'
import { releaseDeps } from '../unlock-deps.ts'

export interface Target {
    /** Origins. */
    readonly servers: readonly string[]
    readonly path: ResourcePath
}

export const TARGET_OPTIONS = {
    url: many('a broker, by default the one that is trusted; may be repeated, then the first that answers counts'),
    path: { type: 'string', describe: 'the resource: REPOSITORY/TYPE/TAG' },
} as const

export const HEADER_OPTIONS = {
    'insecure-pin': many('leave a clevis binding to this pin alone, whose key the host can have; may be repeated'),
    'backup-dir': {
        type: 'string',
        default: '/var/backups/guest-attest',
        describe: 'where the old header is kept until the volume has opened with the new one (root alone may read it)',
    },
} as const

/** What changes of a header need beside the device. */
export const rewriteOf = (device: string, { backupDir, insecurePin }: HeaderArgs) => ({
    device,
    expected: { insecurePins: insecurePin },
    backupFolder: backupDir,
    workFolder: RUN_FOLDER,
})

interface HeaderArgs {
    readonly backupDir: string
    readonly insecurePin: readonly string[]
}

/** The row of the volume table for this LUKS UUID. */
export const volumeOf = (uuid: string): BootVolume | undefined =>
    readVolumes(CONFIG_FOLDER).find((volume) => isUuid(uuid) && volume.uuid === uuid.toLowerCase())

/** What was told, and beside it what the volume table says. @throws AttestError ERR_USAGE */
export async function targetOf(
    told: { url: readonly string[]; path?: string | undefined },
    row?: BootVolume,
): Promise<Target> {
    const volume = row && !opensBySecret(row) ? row : undefined
    const path = told.path === undefined ? volume?.path : parseResourcePath(told.path)
    if (!path)
        throw coreError('ERR_USAGE', '--path is missing: the resource that opens the volume, REPOSITORY/TYPE/TAG', {
            hint: row && !volume ? `the volume table has ${row.name}: it opens with an injected secret` : undefined,
        })
    if (told.url.length > 0)
        return { path, servers: told.url.map((url) => parseOrigin(url, { insecureHttp: true }).origin) }
    if (volume && told.path === undefined) return { path, servers: volume.servers }
    const anchors = await guestAnchors(readConfig())
    const [anchor, other] = anchors
    if (anchor && !other) return { path, servers: [anchor.origin.origin] }
    throw coreError('ERR_USAGE', anchor ? 'several brokers are trusted: name one with --url' : 'no broker is trusted', {
        hint: '`guest-attest trust list` shows them, `guest-attest trust add` adds one',
    })
}

/** A person who asks again has done something about it: what was denied before does not count. */
const NO_DENIALS: Denials = { waitMs: () => 0, refuseIfDenied: () => undefined, remember: () => undefined }

/** For commands of a person. */
export async function personalDeps(): Promise<ReleaseDeps> {
    libc().forbidCoreDumps()
    return { ...(await releaseDeps(readConfig(), lineLogger(PROGRAM, [stderrSink]))), denials: NO_DENIALS }
}

/** The resource as its brokers release it to this guest; the caller wipes it. @throws AttestError as `release` */
export const fetchResource = (
    { servers, path }: Target,
    version: number | null,
    deps: ReleaseDeps,
): Promise<Resource & { readonly bytes: Secret }> =>
    release({ servers, path, versions: [version] }, deps, ({ key, version: got }) => ({
        path: formatResourcePath(path),
        version: got,
        bytes: secret(Buffer.from(key)),
    }))
