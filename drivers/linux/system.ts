// What the kernel says of itself in /proc and /sys: enough to tell a guest that lacks a module from one of another kind.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { EMULATED } from '#core/role.ts'
import { driverError } from '../errors.ts'

export interface System {
    /** `uname -r`. */
    readonly kernelRelease: string
    exists(path: string): boolean
    /** @throws AttestError ERR_DEVICE_KIND where a folder is not on the file system that it must be on */
    requireFilesystem(path: string, magic: number, name: string): void
}

/** Linux include/uapi/linux/magic.h */
export const CONFIGFS_MAGIC = 0x62656570

export function system(): System {
    return {
        get kernelRelease() {
            return readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()
        },
        exists: existsSync,
        requireFilesystem(path, magic, name) {
            if (EMULATED || Number(statfsSync(path).type) === magic) return
            throw driverError('ERR_DEVICE_KIND', `${path} is not on ${name}: it is not the kernel that answers there`)
        },
    }
}

/** What to do where a guest's kernel has not the module that it needs (facts by distribution, checked on Debian). */
export function moduleHint(kernelRelease: string, module: string, since: string): string {
    if (kernelRelease.includes('cloud'))
        return `the cloud kernel ${kernelRelease} may be built without ${module}: apt-get install linux-image-amd64, and boot it`
    return `modprobe ${module}; it is in Linux since ${since}, on Debian in linux-image-amd64 (this is ${kernelRelease})`
}
