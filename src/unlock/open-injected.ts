// A disk that opens with what was injected into this guest, opened by a person as at boot: one copy of its header, judged,
// and cryptsetup from the copy. What a front end does instead is in unlock-volume.ts.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Secret, wipe } from '#core/bytes.ts'
import { makeFolder, writeFileAtomic } from '#core/files.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { opens, openVolume } from '#luks/cryptsetup.ts'
import { luksError } from '#luks/errors.ts'
import { keepHeader, readSoundHeader } from './volume-header.ts'
import type { SecretVolume } from './volumes.ts'

/** The passphrase, from the secret itself or from what the header keeps sealed with it. It is wiped after its use. */
export type Passphrase = (copy: Buffer) => Promise<Secret>

/** Opens it as `/dev/mapper/NAME`. @throws AttestError ERR_UNLOCK_*, ERR_LUKS_*, ERR_SECRET* */
export async function openInjected(
    volume: SecretVolume,
    device: string,
    passphrase: Passphrase,
    folder = RUN_FOLDER,
): Promise<void> {
    const copy = readSoundHeader(volume, device)
    await use(await passphrase(copy), (bytes) =>
        openVolume(device, volume.name, bytes, keepHeader(volume.name, { copy }, folder)),
    )
}

/** The same up to the passphrase, which is tried on the copy. @throws AttestError as `openInjected` */
export async function tryInjected(
    volume: SecretVolume,
    device: string,
    passphrase: Passphrase,
    folder = RUN_FOLDER,
): Promise<void> {
    const copy = readSoundHeader(volume, device)
    makeFolder(folder, 0o700)
    const work = mkdtempSync(join(folder, 'luks-'))
    try {
        const header = join(work, 'header')
        writeFileAtomic(header, copy)
        const opened = await use(await passphrase(copy), (bytes) => opens(device, bytes, { header }))
        if (!opened) throw luksError('ERR_LUKS_PASSPHRASE', `${device} does not open with the secret ${volume.secret}`)
    } finally {
        rmSync(work, { recursive: true, force: true })
    }
}

async function use<T>(passphrase: Secret, open: (passphrase: Secret) => Promise<T>): Promise<T> {
    try {
        return await open(passphrase)
    } finally {
        wipe(passphrase)
    }
}
