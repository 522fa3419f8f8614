// A disk that is opened by hand, as at boot: one copy of its header, judged; the key; the digest with the key; and
// cryptsetup from the copy. No words of a command line here: the initrd's program has it too.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Secret, wipe } from '#core/bytes.ts'
import { makeFolder, writeFileAtomic } from '#core/files.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { bindingsTo } from '#luks/bind.ts'
import type { LuksBinding } from '#luks/binding.ts'
import type { Expected } from '#luks/check.ts'
import { opens, openVolume } from '#luks/cryptsetup.ts'
import { luksError } from '#luks/errors.ts'
import { readSound } from '#luks/rewrite.ts'
import { unlockError } from './errors.ts'
import { type KeyRequest, type ReleaseDeps, release } from './release.ts'
import { firstThatHolds, versionsOf } from './unlock-volume.ts'
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
    return await withPassphrase(request, header, deps, async (passphrase) => {
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
        return await withPassphrase(request, header, deps, async (passphrase, { keyslot }) => {
            if (await opens(request.device, passphrase, { keyslot, header: file })) return
            throw luksError('ERR_LUKS_PASSPHRASE', `key slot ${keyslot} does not open with the key that was released`)
        })
    } finally {
        rmSync(work, { recursive: true, force: true })
    }
}

interface DiskHeader {
    readonly copy: Buffer
    readonly bindings: readonly LuksBinding[]
}

function readDiskHeader({ device, expected, path }: DiskRequest): DiskHeader {
    const { copy } = readSound(device, expected)
    const wanted = formatResourcePath(path)
    const bindings = bindingsTo(copy, wanted)
    if (bindings.length > 0) return { copy, bindings }
    throw unlockError('ERR_UNLOCK_UNBOUND', `${device} is not bound to ${wanted}`, {
        hint: `guest-attest luks bind ${device} --path ${wanted}`,
    })
}

const withPassphrase = (
    { servers, path }: DiskRequest,
    { copy, bindings }: DiskHeader,
    deps: ReleaseDeps,
    use: (passphrase: Secret, binding: LuksBinding) => Promise<void>,
): Promise<Opened> =>
    release({ servers, path, versions: versionsOf({ bindings }) }, deps, async ({ key, asked }) => {
        const named = bindings.filter(({ version }) => version === asked)
        const passphrase = firstThatHolds(copy, named, key)
        try {
            const binding = named[0] as LuksBinding
            await use(passphrase, binding)
            return { path: binding.path, version: binding.version, keyslot: binding.keyslot }
        } finally {
            wipe(passphrase)
        }
    })
