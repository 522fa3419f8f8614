// The EFI secret area: what a guest's owner had put into its memory before it ran, a file for each secret. Linux 5.19 and
// later, drivers/virt/coco/efi_secret/efi_secret.c. A file says that it is empty, and has its bytes all the same; removing
// it wipes them from memory. Why none is shown, no-secrets.ts finds out.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, openSync, readdirSync, readSync, unlinkSync } from 'node:fs'
import { secret, wipe } from '#core/bytes.ts'
import { errnoOf, messageOf } from '#core/errors.ts'
import { isGuid } from '#core/guid.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import type { LaunchSecrets } from '../driver.ts'
import { driverError } from '../errors.ts'
import { type KernelWords, realKernelWords, whyNone } from './no-secrets.ts'
import { SECRETS_FOLDER } from './secret-area.ts'
import { SECURITYFS_MAGIC, type System } from './system.ts'

export interface EfiSecrets extends LaunchSecrets {
    /** @throws AttestError ERR_SECRETS_*, which says why none is shown */
    requireShown(): void
}

/** The file operations that it needs. Errors carry an errno. */
export interface SecretFs {
    list(folder: string): readonly string[]
    /** To its end; a buffer of its own, which somebody wipes. */
    read(path: string, maxBytes: number): Buffer
    unlink(path: string): void
}

export const realSecretFs: SecretFs = {
    list: (folder) => readdirSync(folder),
    read(path, maxBytes) {
        const bytes = Buffer.alloc(maxBytes)
        const fd = openSync(path, 'r')
        try {
            let end = 0
            while (end < maxBytes) {
                const read = readSync(fd, bytes, end, maxBytes - end, null)
                if (read === 0) break
                end += read
            }
            return bytes.subarray(0, end)
        } catch (error) {
            wipe(bytes)
            throw error
        } finally {
            closeSync(fd)
        }
    },
    unlink: unlinkSync,
}

export function efiSecrets(
    system: System,
    fs: SecretFs = realSecretFs,
    words: KernelWords = realKernelWords,
): EfiSecrets {
    const requireShown = () => {
        if (system.exists(SECRETS_FOLDER)) system.requireFilesystem(SECRETS_FOLDER, SECURITYFS_MAGIC, 'securityfs')
        else throw whyNone(system, words)
    }
    const attempt = <T>(guid: string, use: (path: string) => T): T => {
        requireShown()
        const path = `${SECRETS_FOLDER}/${guid}`
        if (!isGuid(guid)) throw new TypeError(`no GUID: ${guid}`)
        try {
            return use(path)
        } catch (cause) {
            if (errnoOf(cause) === 'ENOENT')
                throw driverError('ERR_SECRET_MISSING', `there is no secret ${guid}, or not any more`, {
                    cause,
                    hint: '`guest-attest secrets list` names those that there are',
                })
            throw ioError(path, cause)
        }
    }
    return {
        requireShown,
        list() {
            requireShown()
            try {
                return fs.list(SECRETS_FOLDER).filter(isGuid).toSorted()
            } catch (cause) {
                throw ioError(SECRETS_FOLDER, cause)
            }
        },
        read(guid) {
            const bytes = attempt(guid, (path) => fs.read(path, MAX_SECRET_AREA + 1))
            if (bytes.length <= MAX_SECRET_AREA) return secret(bytes)
            wipe(bytes)
            throw driverError('ERR_DEVICE_RESPONSE', `${guid}: no secret has more than ${MAX_SECRET_AREA} bytes`)
        },
        wipe: (guid) => attempt(guid, (path) => fs.unlink(path)),
    }
}

function ioError(path: string, cause: unknown) {
    const forbidden = errnoOf(cause) === 'EACCES' || errnoOf(cause) === 'EPERM'
    return driverError(forbidden ? 'ERR_DEVICE_ACCESS' : 'ERR_DEVICE_IO', `${path}: ${messageOf(cause)}`, {
        cause,
        hint: forbidden ? 'run this as root' : undefined,
    })
}
