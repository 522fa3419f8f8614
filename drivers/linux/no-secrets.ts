// Why a kernel shows no injected secrets: what it was built with, which driver it has loaded, and what that has said. A table
// with a fault is not shown at all. Linux 5.19 and later, drivers/virt/coco/efi_secret/efi_secret.c.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs'
import { errnoOf } from '#core/errors.ts'
import { driverError } from '../errors.ts'
import { SECRETS_DEVICE, SECURITYFS } from './secret-area.ts'
import type { System } from './system.ts'

/** The driver, loaded or built in. */
export const SECRETS_DRIVER = '/sys/bus/platform/drivers/efi_secret'

/** The first Linux that has it. */
const SINCE = '5.19'

/** How much of the kernel's log is looked through. */
const MAX_RECORDS = 100_000

const MAX_CONFIG = 4 * 1024 * 1024

/** What the kernel says of itself. */
export interface KernelWords {
    /** Its log, a message each; null where it may not be read. */
    kernelLog(): readonly string[] | null
    /** What it was built with; null where that is not known. */
    kernelConfig(release: string): string | null
}

export const realKernelWords: KernelWords = {
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

/** The error of the first thing that is missing, in the order in which the kernel needs them. */
export function whyNone({ exists, kernelRelease }: System, words: KernelWords) {
    const lacks = (option: string) => {
        const config = words.kernelConfig(kernelRelease)
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
    return whyRefused(words.kernelLog())
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
