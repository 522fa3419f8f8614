// The measurement registers of a TD as files of the kernel (tsm-mr): Linux 6.16 and later,
// Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest. A file is called `NAME:HASH`, or `NAME` where it is
// no digest; reading gives the value, writing a digest extends it: value = HASH(value ‖ digest).
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { equalBytes } from '#core/bytes.ts'
import { errnoOf, messageOf } from '#core/errors.ts'
import type { MeasurementRegisters } from '../driver.ts'
import { driverError } from '../errors.ts'
import type { DeviceLock } from './device-lock.ts'
import { SYSFS_MAGIC, type System } from './system.ts'

/** The registers of a TD as the kernel shows them in sysfs. */
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

/** The file operations that registers need, so that their races can be played without a kernel. Errors carry an errno. */
export interface RegisterFs {
    /** The regular files of a folder, and whether their owner may write. */
    list(folder: string): readonly { readonly name: string; readonly writable: boolean }[]
    /** What one read(2) at the start gives, of at most so many bytes. */
    read(path: string, maxBytes: number): Buffer
    /** One write(2) at the start: how many bytes the kernel took. */
    write(path: string, bytes: Uint8Array): number
}

export const realRegisterFs: RegisterFs = {
    list: (folder) =>
        readdirSync(folder).flatMap((name) => {
            const stat = statSync(`${folder}/${name}`)
            return stat.isFile() ? [{ name, writable: (stat.mode & 0o200) !== 0 }] : []
        }),
    read(path, maxBytes) {
        const bytes = Buffer.alloc(maxBytes)
        return withFile(path, constants.O_RDONLY, (fd) => bytes.subarray(0, readSync(fd, bytes, 0, maxBytes, 0)))
    },
    write: (path, bytes) => withFile(path, constants.O_WRONLY, (fd) => writeSync(fd, bytes, 0, bytes.length, 0)),
}

function withFile<T>(path: string, flags: number, use: (fd: number) => T): T {
    const fd = openSync(path, flags)
    try {
        return use(fd)
    } finally {
        closeSync(fd)
    }
}

export function measurements(
    system: System,
    lock: DeviceLock,
    fs: RegisterFs = realRegisterFs,
    path = MEASUREMENTS_FOLDER,
): Measurements {
    const files = (): RegisterFile[] => {
        system.requireFilesystem(path, SYSFS_MAGIC, 'sysfs')
        return attempt(path, () => fs.list(path))
            .flatMap(({ name: entry, writable: extensible }) => {
                const [, name, algorithm = null] = NAME.exec(entry) ?? []
                return name === undefined ? [] : [{ name, algorithm, extensible, path: `${path}/${entry}` }]
            })
            .sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1))
    }
    const read = (file: RegisterFile): Buffer => {
        const value = attempt(file.path, () => fs.read(file.path, MAX_VALUE + 1))
        if (value.length > 0 && value.length <= MAX_VALUE) return Buffer.from(value)
        throw driverError(
            'ERR_DEVICE_RESPONSE',
            `${file.path}: a register has 1 to ${MAX_VALUE} bytes, got ${value.length}`,
        )
    }
    // Whoever extends at the same time changes what our digest is hashed onto: the register then says something else than
    // a log in which the two stand in an order that nobody knows.
    const extend = (file: RegisterFile, algorithm: string, digest: Uint8Array): void => {
        const before = read(file)
        const written = attempt(file.path, () => fs.write(file.path, digest))
        if (written !== digest.length)
            throw driverError('ERR_DEVICE_IO', `${file.path}: the kernel took ${written} of ${digest.length} bytes`)
        const wanted = createHash(algorithm).update(before).update(digest).digest()
        if (!equalBytes(read(file), wanted))
            throw driverError(
                'ERR_REGISTER_RACE',
                `${file.name} has been extended, and by somebody else at the same time: in which order is not known`,
            )
    }
    return {
        path,
        exists() {
            if (!system.exists(path)) return false
            system.requireFilesystem(path, SYSFS_MAGIC, 'sysfs')
            return true
        },
        read: async () =>
            files().map((file) => {
                const { name, algorithm, extensible } = file
                return { name, algorithm, value: read(file), extensible }
            }),
        async extend(name, digest) {
            const all = files()
            const file = all.find((one) => one.name === name)
            if (!file) throw registerError(`no register is called ${name}`, all)
            const { algorithm, extensible } = file
            if (!extensible || algorithm === null) throw registerError(`${name} is fixed since the launch`, all)
            const size = createHash(algorithm).digest().length
            if (digest.length !== size)
                throw registerError(`${name} takes a ${algorithm} digest of ${size} bytes, got ${digest.length}`, all)
            await lock.hold(LOCK, async () => extend(file, algorithm, digest))
        },
    }
}

const rank = ({ name }: RegisterFile): number => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length)

function attempt<T>(path: string, use: () => T): T {
    try {
        return use()
    } catch (cause) {
        const errno = errnoOf(cause)
        const forbidden = errno === 'EACCES' || errno === 'EPERM'
        throw driverError(forbidden ? 'ERR_DEVICE_ACCESS' : 'ERR_DEVICE_IO', `${path}: ${messageOf(cause)}`, {
            cause,
            hint: forbidden ? 'run this as root' : undefined,
        })
    }
}

function registerError(text: string, files: readonly RegisterFile[]) {
    const names = files.filter(({ extensible }) => extensible).map(({ name }) => name)
    return driverError('ERR_REGISTER', text, { hint: `registers that a guest extends: ${names.join(', ')}` })
}
