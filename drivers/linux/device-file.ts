// Opening a device of the kernel: a character device and nothing else, with errors that say what to do.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, fstatSync, openSync, type Stats, statSync } from 'node:fs'
import { errnoOf, messageOf } from '#core/errors.ts'
import { EMULATED } from '#core/role.ts'
import { driverError } from '../errors.ts'

/** @throws AttestError ERR_DEVICE_KIND where something else stands in its place */
export function deviceExists(path: string): boolean {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat) requireDevice(path, stat)
    return stat !== undefined
}

/** Uses a device and closes it. @throws AttestError ERR_DEVICE_ACCESS, ERR_DEVICE_GONE, ERR_DEVICE_KIND */
export async function withDevice<T>(path: string, use: (fd: number) => Promise<T>): Promise<T> {
    const fd = openDevice(path)
    try {
        return await use(fd)
    } finally {
        closeSync(fd)
    }
}

function openDevice(path: string): number {
    let fd: number
    try {
        fd = openSync(path, 'r+')
    } catch (cause) {
        if (errnoOf(cause) === 'EACCES' || errnoOf(cause) === 'EPERM')
            throw driverError('ERR_DEVICE_ACCESS', `${path}: this user may not open it`, {
                cause,
                hint: 'run this as root',
            })
        throw driverError('ERR_DEVICE_GONE', `${path}: ${messageOf(cause)}`, { cause })
    }
    try {
        requireDevice(path, fstatSync(fd))
        return fd
    } catch (error) {
        closeSync(fd)
        throw error
    }
}

function requireDevice(path: string, stat: Stats): void {
    if (EMULATED || stat.isCharacterDevice()) return
    throw driverError('ERR_DEVICE_KIND', `${path} is not a character device: it is not the kernel that answers there`)
}
