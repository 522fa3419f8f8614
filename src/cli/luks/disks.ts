// The disks of a rotation: all that one key opens, each with what it is bound to.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { readBindings } from '#luks/binding.ts'
import { luksError } from '#luks/errors.ts'
import { readSound } from '#luks/rewrite.ts'
import type { ReleaseDeps } from '#unlock/release.ts'
import { opensBySecret, readVolumes } from '#unlock/volumes.ts'
import { note } from '../term.ts'
import { type Others, othersOf } from './others.ts'
import { rewriteOf, type Target, targetOf, volumeOf } from './target.ts'

export interface Disk {
    readonly rewrite: ReturnType<typeof rewriteOf>
    /** The broker that has the word. */
    readonly target: Target
    /** With every broker, as a clevis token names them. */
    readonly all: Target
    readonly deps: ReleaseDeps
    readonly uuid: string
    readonly options: {
        readonly acceptHeader: boolean
        readonly replace: boolean
        readonly keyFile?: string | undefined
    }
    /** Says what is done next. */
    step(text: string): void
}

type Options = Parameters<typeof rewriteOf>[1] & Parameters<typeof targetOf>[0] & Disk['options']

/** @throws AttestError ERR_USAGE, ERR_LUKS_* */
export async function diskOf(device: string, options: Options, deps: ReleaseDeps, step: Disk['step']): Promise<Disk> {
    const rewrite = rewriteOf(device, options)
    const { copy, volume: header } = readSound(device, rewrite.expected)
    const volume = volumeOf(header.uuid)
    const path = options.path ?? (volume ? undefined : onlyPath(copy))
    const all = await targetOf({ ...options, path }, volume)
    // Each broker counts for itself, so that one of them has to have the word.
    const target = { ...all, servers: all.servers.slice(0, 1) }
    if (all.servers.length > 1)
        note(`${device}: rotated at ${all.servers[0]}: the other brokers need the same key and version`)
    return { rewrite, target, all, deps, uuid: header.uuid, options, step }
}

/** A key that opens several volumes is rotated for all of them at once. @throws AttestError ERR_USAGE */
export function requireAll(disks: readonly Disk[]): void {
    const [{ target }] = disks as [Disk]
    const path = formatResourcePath(target.path)
    const stray = disks.find((disk) => formatResourcePath(disk.target.path) !== path)
    if (stray) throw coreError('ERR_USAGE', `${stray.rewrite.device} has another key: rotate it by itself`)
    const missing = readVolumes(CONFIG_FOLDER).filter(
        (volume) =>
            !opensBySecret(volume) &&
            formatResourcePath(volume.path) === path &&
            !disks.some(({ uuid }) => uuid === volume.uuid),
    )
    if (missing.length > 0)
        throw coreError(
            'ERR_USAGE',
            `${path} also opens ${missing.map(({ name }) => name).join(', ')}: name all of its devices`,
            {
                hint: missing.map(({ uuid }) => `/dev/disk/by-uuid/${uuid}`).join(' '),
            },
        )
}

/** @throws AttestError ERR_LUKS_HEADER_DIGEST */
export function requireIntact({ options, rewrite }: Disk, intact: boolean, id: string): void {
    if (intact || options.acceptHeader) return
    throw luksError(
        'ERR_LUKS_HEADER_DIGEST',
        `${rewrite.device}: the header is not the one that token ${id} was made for`,
        {
            hint: 'if you have changed it yourself: --accept-header; if not, somebody else has: restore it from a backup',
        },
    )
}

/** The one path that a header is bound to, where there is one. */
function onlyPath(copy: Buffer): string | undefined {
    const [path, ...more] = new Set(readBindings(copy).map((binding) => binding.path))
    return more.length === 0 ? path : undefined
}

/** What becomes of the bindings of a disk to other resources. @throws AttestError ERR_LUKS_BINDING */
export const othersOn = ({ rewrite, target, deps, options }: Disk, copy: Buffer): Promise<Others> =>
    othersOf({
        device: rewrite.device,
        copy,
        path: formatResourcePath(target.path),
        servers: target.servers,
        replace: options.replace,
        deps: () => deps,
    })
