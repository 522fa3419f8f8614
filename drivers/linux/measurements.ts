// The measurement registers of a TD as files of the kernel (tsm-mr): Linux 6.16 and later,
// Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest. A file is called `NAME:HASH`, or `NAME` where it is no
// digest; reading gives the value, writing a digest extends it: value = HASH(value ‖ digest).
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { equalBytes } from '#core/bytes.ts'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { MeasurementRegister, MeasurementRegisters } from '../driver.ts'
import { driverError } from '../errors.ts'
import type { DeviceLock } from './device-lock.ts'
import { SYSFS_MAGIC, type System } from './system.ts'

export interface Measurements extends MeasurementRegisters {
    readonly path: string
    /** Whether this kernel has them. @throws AttestError ERR_DEVICE_KIND */
    exists(): boolean
}

export const MEASUREMENTS_FOLDER = '/sys/devices/virtual/misc/tdx_guest/measurements'

/** The first Linux that has them. */
export const MEASUREMENTS_SINCE = '6.16'

/** `rtmr2:sha384` */
const NAME = /^([a-z][a-z0-9]{0,31})(?::([a-z0-9]{1,16}))?$/

/** The order of Intel's TDINFO; what a later kernel adds follows by its name. */
const ORDER: readonly string[] = ['mrtd', 'mrconfigid', 'mrowner', 'mrownerconfig', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3']

/** SHA-512, and more than any register has. */
const MAX_VALUE = 64

const LOCK = 'tdx-measurements'

interface RegisterFile {
    readonly name: string
    readonly algorithm: string | null
    readonly path: string
    readonly extensible: boolean
}

export function measurements(system: System, lock: DeviceLock, path = MEASUREMENTS_FOLDER): Measurements {
    const files = (): RegisterFile[] => {
        system.requireFilesystem(path, SYSFS_MAGIC, 'sysfs')
        return listed(path)
    }
    return {
        path,
        exists() {
            if (!system.exists(path)) return false
            system.requireFilesystem(path, SYSFS_MAGIC, 'sysfs')
            return true
        },
        read: async () => files().map(readRegister),
        async extend(name, digest) {
            const file = files().find((one) => one.name === name)
            if (!file) throw registerError(`no register is called ${name}`, known(files()))
            if (!file.extensible || file.algorithm === null)
                throw registerError(`${name} is fixed since the launch`, known(files()))
            await lock.hold(LOCK, async () => extendRegister(file, file.algorithm ?? '', digest))
        },
    }
}

function listed(path: string): RegisterFile[] {
    const found: RegisterFile[] = []
    for (const entry of readdirSync(path)) {
        const [, name, algorithm = null] = NAME.exec(entry) ?? []
        if (name === undefined) continue // `uevent` and its like have other letters, or are folders
        const stat = statSync(`${path}/${entry}`)
        if (stat.isFile())
            found.push({ name, algorithm, path: `${path}/${entry}`, extensible: (stat.mode & 0o200) !== 0 })
    }
    return found.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
}

const rank = ({ name }: RegisterFile): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length)

function known(files: readonly RegisterFile[]): string {
    const names = files.filter(({ extensible }) => extensible).map(({ name }) => name)
    return `registers that a guest extends: ${names.join(', ')}`
}

function readRegister({ name, algorithm, path, extensible }: RegisterFile): MeasurementRegister {
    return { name, algorithm, extensible, value: withFile(path, constants.O_RDONLY, (fd) => readValue(fd, path)) }
}

function readValue(fd: number, path: string): Buffer {
    const value = Buffer.alloc(MAX_VALUE + 1)
    const size = readSync(fd, value, 0, value.length, 0)
    if (size > 0 && size <= MAX_VALUE) return Buffer.from(value.subarray(0, size))
    throw driverError('ERR_DEVICE_RESPONSE', `${path}: a register has 1 to ${MAX_VALUE} bytes, this one ${size}`)
}

// Whoever extends at the same time changes what our digest is hashed onto: the register then says something else than a
// log in which the two stand in an order that nobody knows.
function extendRegister(file: RegisterFile, algorithm: string, digest: Uint8Array): void {
    const size = createHash(algorithm).digest().length
    if (digest.length !== size)
        throw registerError(`${file.name} takes a ${algorithm} digest of ${size} bytes, got ${digest.length}`)
    const before = readRegister(file).value
    withFile(file.path, constants.O_WRONLY, (fd) => {
        const written = writeSync(fd, digest, 0, digest.length, 0)
        if (written !== digest.length)
            throw driverError('ERR_DEVICE_IO', `${file.path}: the kernel took ${written} of ${digest.length} bytes`)
    })
    const wanted = createHash(algorithm).update(before).update(digest).digest()
    if (!equalBytes(readRegister(file).value, wanted))
        throw driverError(
            'ERR_REGISTER_RACE',
            `${file.name} has been extended, and by somebody else at the same time: in which order is not known`,
        )
}

function withFile<T>(path: string, flags: number, use: (fd: number) => T): T {
    let fd: number | undefined
    try {
        fd = openSync(path, flags)
        return use(fd)
    } catch (cause) {
        const errno = errnoOf(cause)
        if (errno?.startsWith('ERR_')) throw cause
        const code = errno === 'EACCES' || errno === 'EPERM' ? 'ERR_DEVICE_ACCESS' : 'ERR_DEVICE_IO'
        throw driverError(code, `${path}: ${messageOf(cause)}`, {
            cause,
            hint: code === 'ERR_DEVICE_ACCESS' ? 'run this as root' : undefined,
        })
    } finally {
        if (fd !== undefined) closeSync(fd)
    }
}

const registerError = (text: string, hint?: string) => driverError('ERR_REGISTER', text, { hint })
