// What the kernel says of itself in /proc and /sys: enough to tell a guest that lacks a module from one of another kind.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, existsSync, openSync, readFileSync, readSync, statfsSync } from 'node:fs'
import { EMULATED } from '#core/role.ts'
import { driverError } from '../errors.ts'

export interface System {
    /** `uname -r`. */
    readonly kernelRelease: string
    exists(path: string): boolean
    /** Whether the first processor has this flag in /proc/cpuinfo; false where there is no such file. */
    hasCpuFlag(flag: string): boolean
    /** @throws AttestError ERR_DEVICE_KIND where a folder is not on the file system that it must be on */
    requireFilesystem(path: string, magic: number, name: string): void
}

/** Linux include/uapi/linux/magic.h */
export const CONFIGFS_MAGIC = 0x62656570
export const SYSFS_MAGIC = 0x62656572
export const SECURITYFS_MAGIC = 0x73636673

/** One processor of /proc/cpuinfo is far shorter; each further one costs the kernel time. */
const CPUINFO_BYTES = 16 * 1024

export function system(): System {
    return {
        get kernelRelease() {
            return readFileSync('/proc/sys/kernel/osrelease', 'latin1').trim()
        },
        exists: existsSync,
        hasCpuFlag: (flag) => cpuFlags().includes(flag),
        requireFilesystem(path, magic, name) {
            if (EMULATED || Number(statfsSync(path).type) === magic) return
            throw driverError('ERR_DEVICE_KIND', `${path} is not on ${name}: it is not the kernel that answers there`)
        },
    }
}

function cpuFlags(): readonly string[] {
    let fd: number
    try {
        fd = openSync('/proc/cpuinfo', 'r')
    } catch {
        return [] // not Linux, or no proc
    }
    try {
        const text = Buffer.alloc(CPUINFO_BYTES)
        const read = text.toString('latin1', 0, readSync(fd, text))
        return /^flags\s*:(.*)$/m.exec(read)?.[1]?.trim().split(/\s+/) ?? []
    } finally {
        closeSync(fd)
    }
}

/** What to do where a guest's kernel has not the module that it needs (facts by distribution, checked on Debian). */
export function moduleHint(kernelRelease: string, module: string, since: string): string {
    if (kernelRelease.includes('cloud'))
        return `the cloud kernel ${kernelRelease} may be built without ${module}: apt-get install linux-image-amd64, and boot it`
    return `modprobe ${module}; it is in Linux since ${since}, on Debian in linux-image-amd64 (this is ${kernelRelease})`
}
