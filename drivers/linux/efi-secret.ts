// The EFI secret area: what a guest's owner had put into its memory before it ran, a file for each secret. Linux 5.19 and
// later, drivers/virt/coco/efi_secret/efi_secret.c. A file says that it is empty, and has its bytes all the same; removing
// it wipes them from memory. A table with a fault is not shown at all: then what the kernel does show is looked through.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, openSync, readdirSync, readFileSync, readSync, unlinkSync } from 'node:fs'
import { secret, wipe } from '#core/bytes.ts'
import { errnoOf, messageOf } from '#core/errors.ts'
import { isGuid } from '#core/guid.ts'
import type { LaunchSecrets } from '../driver.ts'
import { driverError } from '../errors.ts'
import { SECURITYFS_MAGIC, type System } from './system.ts'

export interface EfiSecrets extends LaunchSecrets {
    readonly path: string
    /** Whether the firmware has told this kernel of an area for secrets, shown or not. */
    exists(): boolean
    /** @throws AttestError ERR_SECRETS_*, which says why none is shown */
    requireShown(): void
}

export const SECURITYFS = '/sys/kernel/security'

export const SECRETS_FOLDER = `${SECURITYFS}/secrets/coco`

/** What the kernel makes of an area that the firmware names, whether a driver serves it or not. */
export const SECRETS_DEVICE = '/sys/devices/platform/efi_secret.0'

/** The driver, loaded or built in. */
export const SECRETS_DRIVER = '/sys/bus/platform/drivers/efi_secret'

/** The first Linux that has it. */
const SINCE = '5.19'

/** The firmware takes no larger area. */
const MAX_SECRET = 0x4000

/** How much of the kernel's log is looked through. */
const MAX_RECORDS = 100_000

const MAX_CONFIG = 4 * 1024 * 1024

/** The file operations that it needs. Errors carry an errno. */
export interface SecretFs {
    list(folder: string): readonly string[]
    /** To its end; a buffer of its own, which somebody wipes. */
    read(path: string, maxBytes: number): Buffer
    unlink(path: string): void
    /** The kernel's log, a message each; null where it may not be read. */
    kernelLog(): readonly string[] | null
    /** What this kernel was built with; null where that is not known. */
    kernelConfig(release: string): string | null
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
    kernelLog() {
        try {
            return readKernelLog()
        } catch {
            return null
        }
    },
    kernelConfig(release) {
        try {
            return readFileSync(`/boot/config-${release}`, 'latin1')
        } catch {
            // the other place
        }
        try {
            // Not an import: to load it costs every start in an initrd 2 ms, and only a guest without secrets needs it.
            const { gunzipSync } = process.getBuiltinModule('node:zlib')
            return gunzipSync(readFileSync('/proc/config.gz'), { maxOutputLength: MAX_CONFIG }).toString('latin1')
        } catch {
            return null
        }
    },
}

// A record each read(2). Documentation/ABI/testing/dev-kmsg
function readKernelLog(): string[] {
    const fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK)
    const messages: string[] = []
    const record = Buffer.alloc(8192)
    try {
        for (let i = 0; i < MAX_RECORDS; i++) {
            try {
                const read = readSync(fd, record, 0, record.length, null)
                if (read === 0) break
                const text = record.toString('utf8', 0, read)
                messages.push(text.slice(text.indexOf(';') + 1).split('\n', 1)[0] ?? '')
            } catch (error) {
                if (errnoOf(error) === 'EAGAIN') break
                if (errnoOf(error) !== 'EPIPE') throw error // overwritten meanwhile: the next one is older no more
            }
        }
        return messages
    } finally {
        closeSync(fd)
    }
}

export function efiSecrets(system: System, fs: SecretFs = realSecretFs): EfiSecrets {
    const { exists } = system
    const requireShown = () => {
        if (exists(SECRETS_FOLDER)) system.requireFilesystem(SECRETS_FOLDER, SECURITYFS_MAGIC, 'securityfs')
        else throw whyNone(system, fs)
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
        path: SECRETS_FOLDER,
        exists: () => exists(SECRETS_FOLDER) || exists(SECRETS_DEVICE),
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
            const bytes = attempt(guid, (path) => fs.read(path, MAX_SECRET + 1))
            if (bytes.length <= MAX_SECRET) return secret(bytes)
            wipe(bytes)
            throw driverError('ERR_DEVICE_RESPONSE', `${guid}: no secret has more than ${MAX_SECRET} bytes`)
        },
        wipe: (guid) => attempt(guid, (path) => fs.unlink(path)),
    }
}

// Each thing that is missing, in the order in which the kernel needs them.
function whyNone({ exists, kernelRelease }: System, fs: SecretFs) {
    const lacks = (option: string) => {
        const config = fs.kernelConfig(kernelRelease)
        return config !== null && !new RegExp(`^${option}=[ym]$`, 'm').test(config)
    }
    const builtWithout = (option: string) =>
        driverError('ERR_SECRETS_KERNEL', `the kernel ${kernelRelease} is built without ${option}`, {
            hint: `a kernel of Linux ${SINCE} or later with EFI_COCO_SECRET and EFI_SECRET; Debian builds none`,
        })
    if (!exists(SECRETS_DEVICE)) {
        if (lacks('CONFIG_EFI_COCO_SECRET')) return builtWithout('CONFIG_EFI_COCO_SECRET')
        return driverError('ERR_SECRETS_NONE', 'the firmware has told the kernel of no area for secrets', {
            hint: 'OVMF has one in its AmdSev builds; and the kernel is to be built with EFI_COCO_SECRET',
        })
    }
    if (!exists(SECRETS_DRIVER)) {
        if (lacks('CONFIG_EFI_SECRET')) return builtWithout('CONFIG_EFI_SECRET')
        return driverError('ERR_SECRETS_MODULE', 'there is an area for secrets, and no driver that shows it', {
            hint: 'modprobe efi_secret; in an initrd, it is to be among the modules that are put into it',
        })
    }
    // The driver has taken the device, and so the table.
    if (exists(`${SECRETS_DEVICE}/driver`))
        return driverError(
            'ERR_SECRETS_SECURITYFS',
            `${SECURITYFS} shows no secrets: securityfs is not mounted there`,
            {
                hint: `mount -t securityfs securityfs ${SECURITYFS}`,
            },
        )
    return whyRefused(fs.kernelLog())
}

/** What the driver says of a GUID that stands twice: the file is there already. */
const TWICE = /Error creating efi_secret securityfs entry/

const OF_DRIVER = /^efi_secret(?:[ .:]|$)/

function whyRefused(log: readonly string[] | null) {
    const said = log?.findLast((line) => OF_DRIVER.test(line))
    if (said === undefined)
        return driverError(
            'ERR_SECRETS_NONE',
            log === null
                ? 'the driver shows no secrets; why, the kernel’s log would say, which may not be read'
                : 'the area for secrets holds no table: nothing was injected',
            { hint: log === null ? 'run this as root' : 'the owner injects at the launch: guest-attest sev inject' },
        )
    const why = TWICE.test(said) ? 'a GUID stands twice in it' : 'it is corrupted'
    return driverError('ERR_SECRETS_TABLE', `the kernel shows none of the secrets: ${why} (it says: ${said})`, {
        hint: 'the owner makes another table and launches again; `guest-attest sev inject` makes none with such faults',
    })
}

function ioError(path: string, cause: unknown) {
    const forbidden = errnoOf(cause) === 'EACCES' || errnoOf(cause) === 'EPERM'
    return driverError(forbidden ? 'ERR_DEVICE_ACCESS' : 'ERR_DEVICE_IO', `${path}: ${messageOf(cause)}`, {
        cause,
        hint: forbidden ? 'run this as root' : undefined,
    })
}
