// A change of a header, all of it or nothing: made on a copy, judged and tried there, and put on the disk in one step. What
// the disk had is kept in a file until the caller has opened the volume with the new one.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { equalBytes } from '#core/bytes.ts'
import { fileError, makeFolder, writeFileAtomic } from '#core/files.ts'
import { checkHeader, type Expected } from './check.ts'
import { restoreHeader } from './cryptsetup.ts'
import { copyWholeHeader } from './device.ts'
import { luksError } from './errors.ts'
import { metadataOf } from './metadata.ts'
import type { LuksVolume } from './volume.ts'

export interface Rewrite {
    readonly device: string
    /** What the header must be, before and after. */
    readonly expected: Expected
    /** Root's alone; where the old header is kept. */
    readonly backupFolder: string
    /** Root's alone, and in memory: where the new one is made. */
    readonly workFolder: string
    /** A copy whose digest was checked: only that one is worked on, whatever the disk shows when it is read again. */
    readonly judged?: Buffer
}

/** A header that was judged. */
export interface SoundHeader {
    readonly copy: Buffer
    readonly volume: LuksVolume
}

/**
 * The header of a device, one copy of it, where every check passes.
 * @throws AttestError ERR_LUKS_UNSOUND with what the first check that fails says, as `copyWholeHeader`
 */
export function readSound(device: string, expected: Expected = {}): SoundHeader {
    const copy = copyWholeHeader(device)
    const { volume, checks } = checkHeader(copy, expected)
    if (volume) return { copy, volume }
    const failed = checks.find(({ result }) => result === 'fail')
    throw luksError(
        'ERR_LUKS_UNSOUND',
        `the header of ${device} may not be opened: ${failed?.name}: ${failed?.detail}`,
        { hint: failed?.hint ?? `guest-attest luks check ${device}` },
    )
}

/** Where the header of a volume is kept while it changes. */
export const backupFile = (folder: string, uuid: string): string => join(folder, `${uuid}.luks-header`)

/**
 * Changes the header of a device by `edit`, which works on a copy in a file and throws where that is not as it should be.
 * @throws AttestError what `edit` throws, ERR_LUKS_CHANGED where somebody else wrote meanwhile
 */
export async function rewriteHeader<T>(
    { device, expected, backupFolder, workFolder, judged }: Rewrite,
    edit: (file: string, before: SoundHeader) => Promise<T>,
): Promise<T> {
    const before = readSound(device, expected)
    if (judged && !equalBytes(before.copy, judged)) throw changed(device)
    makeFolder(backupFolder, 0o700)
    const backup = backupFile(backupFolder, before.volume.uuid)
    writeFileAtomic(backup, before.copy)
    makeFolder(workFolder, 0o700)
    const folder = makeWorkFolder(workFolder)
    try {
        const file = join(folder, 'header')
        writeFileAtomic(file, before.copy)
        const result = await edit(file, before)
        const after = readSound(file, { ...expected, uuid: before.volume.uuid })
        if (!equalBytes(copyWholeHeader(device), before.copy)) throw changed(device)
        await restoreHeader(device, file)
        if (!equalBytes(copyWholeHeader(device), after.copy))
            throw luksError('ERR_LUKS_CHANGED', `${device} does not hold the header that was written to it`, {
                hint: `the old one is in ${backup}: cryptsetup luksHeaderRestore ${device} --header-backup-file ${backup}`,
            })
        return result
    } finally {
        rmSync(folder, { recursive: true, force: true })
    }
}

const changed = (device: string) =>
    luksError('ERR_LUKS_CHANGED', `the header of ${device} changed while it was worked on: nothing was written`)

/**
 * The passphrase opens the header from before as well: a disk that shows that one again would go on with the old key.
 * @throws AttestError ERR_LUKS_CHANGED
 */
export function requireOtherKey(device: string, before: Buffer, after: Buffer): void {
    if (volumeKeyOf(before) !== volumeKeyOf(after)) return
    throw luksError('ERR_LUKS_CHANGED', `${device} shows the header that it had before it was encrypted anew`, {
        hint: 'whoever has the disk has put it back: the volume key is the old one',
    })
}

/** Salt and digest of the volume key. */
const volumeKeyOf = (copy: Buffer): string =>
    JSON.stringify(Object.values(metadataOf(copy).digests).map(({ salt, digest }) => [salt, digest]))

/** Ends a change: the volume opens with its new header. */
export const forgetBackup = (folder: string, uuid: string): void => rmSync(backupFile(folder, uuid), { force: true })

function makeWorkFolder(parent: string): string {
    try {
        return mkdtempSync(join(parent, 'luks-'))
    } catch (cause) {
        throw fileError(parent, cause)
    }
}
