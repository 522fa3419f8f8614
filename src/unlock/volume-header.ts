// The header of a volume that is about to open: found, copied once, judged, and put where cryptsetup opens from, so that
// what was checked is what is used. The host can answer the next read of the disk with another one.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder, writeFileAtomic } from '#core/files.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { pause } from '#core/wait.ts'
import { TOKEN_TYPE } from '#luks/binding.ts'
import { checkHeader } from '#luks/check.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { unlockError } from './errors.ts'
import { type BoundHeader, boundTo } from './key-slot.ts'
import { type BootVolume, opensBySecret, type Volume } from './volumes.ts'

/** Where udev puts a volume: the host chooses what carries this UUID, so it only says where to look. */
export const deviceOf = ({ uuid }: Pick<BootVolume, 'uuid'>): string => `/dev/disk/by-uuid/${uuid}`

const LOOK_AGAIN_MS = 50

/**
 * Tokens that a strict volume may have. systemd-cryptsetup goes on to the tokens of the header where it gets no key from
 * us: one for a TPM, which the host emulates, would open a volume of the host's.
 */
const OPENS_WITH_US_ALONE: readonly string[] = [TOKEN_TYPE, 'clevis', 'systemd-recovery']

/** @throws AttestError ERR_UNLOCK_NO_DEVICE where it has not appeared when the signal says so */
export async function waitForDevice(volume: BootVolume, signal: AbortSignal, path = deviceOf(volume)): Promise<string> {
    while (!existsSync(path)) {
        try {
            await pause(LOOK_AGAIN_MS, signal)
        } catch {
            throw unlockError('ERR_UNLOCK_NO_DEVICE', `no disk with the LUKS UUID ${volume.uuid} has appeared`)
        }
    }
    return path
}

/** @throws AttestError ERR_UNLOCK_HEADER, ERR_UNLOCK_UNBOUND, ERR_LUKS_DEVICE, ERR_FILE */
export const readVolumeHeader = (volume: Volume, device: string): BoundHeader =>
    boundTo(readSoundHeader(volume, device), device, volume.path, 'enroll')

/** A copy of the header, judged. @throws AttestError ERR_UNLOCK_HEADER, ERR_LUKS_DEVICE, ERR_FILE */
export function readSoundHeader(volume: BootVolume, device: string): Buffer {
    const copy = copyWholeHeader(device)
    const { volume: found, checks } = checkHeader(copy, { uuid: volume.uuid })
    const refuse = (why: string | undefined) =>
        unlockError('ERR_UNLOCK_HEADER', `the header of ${device} may not be opened: ${why}`, {
            hint: `guest-attest luks check ${device}`,
        })
    if (!found) throw refuse(checks.find(({ result }) => result === 'fail')?.detail)
    const other = found.tokens.find(({ type }) => !OPENS_WITH_US_ALONE.includes(type))
    if (volume.profile === 'strict' && other)
        throw refuse(
            `token ${other.id}: ${other.type} may open it without the ${opensBySecret(volume) ? 'secret' : 'broker'}`,
        )
    return copy
}

/** The copy that crypttab's `header=` names. */
export const headerFile = (name: string, folder = RUN_FOLDER): string => join(folder, `${name}.hdr`)

/** @throws AttestError ERR_FILE */
export function keepHeader(name: string, { copy }: Pick<BoundHeader, 'copy'>, folder = RUN_FOLDER): string {
    makeFolder(folder, 0o700)
    const file = headerFile(name, folder)
    writeFileAtomic(file, copy)
    return file
}

/** What an earlier try has left there. */
export const dropHeader = (name: string, folder = RUN_FOLDER): void => rmSync(headerFile(name, folder), { force: true })
