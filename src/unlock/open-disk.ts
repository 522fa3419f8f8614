// A disk that a person opens by hand, as at boot: one copy of its header, judged; the key; the digest with the key; and
// cryptsetup from the copy. What a front end does instead, and for volumes of the table, is in unlock-volume.ts.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { wipe } from '#core/bytes.ts'
import { makeFolder, writeFileAtomic } from '#core/files.ts'
import { RUN_FOLDER } from '#core/role.ts'
import type { Expected } from '#luks/check.ts'
import { opens, openVolume } from '#luks/cryptsetup.ts'
import { luksError } from '#luks/errors.ts'
import { readSound } from '#luks/rewrite.ts'
import { type BoundHeader, boundTo, type KeySlot, keySlotOf, versionsOf } from './key-slot.ts'
import { type KeyRequest, type ReleaseDeps, release } from './release.ts'
import { headerFile } from './volume-header.ts'

export interface DiskRequest extends Pick<KeyRequest, 'servers' | 'path'> {
    readonly device: string
    readonly expected: Expected
}

/** What opened it. */
export interface Opened {
    readonly path: string
    readonly version: number | null
    readonly keyslot: string
}

/** Opens it as `/dev/mapper/NAME`, from the copy that crypttab's `header=` names. @throws AttestError ERR_UNLOCK_*, ERR_LUKS_* */
export async function openDisk(
    request: DiskRequest,
    name: string,
    deps: ReleaseDeps,
    folder = RUN_FOLDER,
): Promise<Opened> {
    const header = readDiskHeader(request)
    makeFolder(folder, 0o700)
    const file = headerFile(name, folder)
    return await withKeySlot(request, header, deps, async ({ passphrase }) => {
        writeFileAtomic(file, header.copy)
        await openVolume(request.device, name, passphrase, file)
    })
}

/** The same up to the passphrase, which is tried on the copy. @throws AttestError as `openDisk` */
export async function tryDisk(request: DiskRequest, deps: ReleaseDeps, folder = RUN_FOLDER): Promise<Opened> {
    const header = readDiskHeader(request)
    makeFolder(folder, 0o700)
    const work = mkdtempSync(join(folder, 'luks-'))
    try {
        const file = join(work, 'header')
        writeFileAtomic(file, header.copy)
        return await withKeySlot(request, header, deps, async ({ passphrase, binding: { keyslot } }) => {
            if (await opens(request.device, passphrase, { keyslot, header: file })) return
            throw luksError('ERR_LUKS_PASSPHRASE', `key slot ${keyslot} does not open with the key that was released`)
        })
    } finally {
        rmSync(work, { recursive: true, force: true })
    }
}

const readDiskHeader = ({ device, expected, path }: DiskRequest): BoundHeader =>
    boundTo(readSound(device, expected).copy, device, path, 'bind')

const withKeySlot = (
    { servers, path }: DiskRequest,
    header: BoundHeader,
    deps: ReleaseDeps,
    use: (slot: KeySlot) => Promise<void>,
): Promise<Opened> =>
    release({ servers, path, versions: versionsOf(header) }, deps, async (released) => {
        const slot = keySlotOf(header, released)
        try {
            await use(slot)
            const { path, version, keyslot } = slot.binding
            return { path, version, keyslot }
        } finally {
            wipe(slot.passphrase)
        }
    })
