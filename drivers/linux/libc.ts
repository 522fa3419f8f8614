// The C library, through koffi: the only file that loads the FFI, and only when a call is made.
// koffi's native module is loaded by itself, because its JavaScript half looks for the C library's kind for 6 ms first.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { AttestError } from '#core/errors.ts'
import { driverError } from '../errors.ts'
import type { SocketCalls } from './socket-calls.ts'

export interface CallResult {
    readonly result: number
    /** The errno of the thread that made the call; 0 where the result is not negative. */
    readonly errno: number
}

export interface Libc {
    /** ioctl(2) on a thread of its own: a host that keeps it waiting for a minute blocks nothing else. Null: a null pointer. */
    ioctl(fd: number, request: number, argument: Buffer | null): Promise<CallResult>
    /** Where a buffer lies. It stays there as long as the caller holds the buffer. */
    addressOf(buffer: Buffer): bigint
    /** flock(2) LOCK_EX | LOCK_NB: false where another process holds the lock. */
    tryLock(fd: number): boolean
    /** getsockopt(2) SO_PEERCRED: the user who connected to a unix socket. */
    peerUser(fd: number): number
    /** getpeername(2) of a unix socket: its path; an abstract one begins with a zero byte; empty where it has none. */
    peerName(fd: number): Buffer
    /** One datagram to the unix socket of this path; `@` begins an abstract one. False where it was not taken. */
    sendDatagram(path: string, bytes: Uint8Array): boolean
    /** setrlimit(2): a crash of this process leaves no core file with keys in it. */
    forbidCoreDumps(): void
}

type Func = ((...args: unknown[]) => number) & {
    async(...args: [...unknown[], (error: Error | null, result: number) => void]): void
}

/** What a device needs. */
export type Ioctls = Pick<Libc, 'ioctl' | 'addressOf'>

export interface Koffi {
    load(name: string | null): { func(name: string, result: string, args: string[]): Func }
    address(buffer: Buffer): bigint
    errno(): number
    readonly node: { readonly poll: SocketCalls['poll'] }
}

export const AF_UNIX = 1
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const MSG_NOSIGNAL = 0x4000
const LOCK_EX = 2
const LOCK_NB = 4
const RLIMIT_CORE = 4
const SOCK_DGRAM = 2
const SO_PEERCRED = 17
/** struct sockaddr_un: the family, and 108 bytes of path. */
const SOCKADDR_UN_SIZE = 110
// One byte, soft and hard: no core fits, and the kernel hands none to a program either. (With 0 it would: core(5).)
const NO_CORE = Buffer.from('0100000000000000'.repeat(2), 'hex')

// Constants of an executable (packaging/bundle.ts).
declare const GUEST_ATTEST_KOFFI_PATH: string | undefined
declare const GUEST_ATTEST_KOFFI_SHA256: string | undefined
const KOFFI_PATH: string = typeof GUEST_ATTEST_KOFFI_PATH === 'undefined' ? '' : GUEST_ATTEST_KOFFI_PATH
const KOFFI_SHA256: string = typeof GUEST_ATTEST_KOFFI_SHA256 === 'undefined' ? '' : GUEST_ATTEST_KOFFI_SHA256

let native: Koffi | undefined
let loaded: Libc | undefined

/** @throws AttestError ERR_DEVICE_IO where the native module cannot be loaded */
export function libc(): Libc {
    loaded ??= bind(koffi())
    return loaded
}

/** A function that gives what it gives in C, or the errno as a negative number. @throws AttestError ERR_DEVICE_IO as above */
export function boundCall(name: string, args: string[], result = 'int'): (...given: unknown[]) => number {
    const ffi = koffi()
    const call = ffi.load(null).func(name, result, args)
    return (...given) => {
        const value = call(...given)
        return value < 0 ? -ffi.errno() : value
    }
}

/** @throws AttestError ERR_DEVICE_IO as above */
export function koffi(): Koffi {
    native ??= loadKoffi()
    return native
}

function bind(koffi: Koffi): Libc {
    const lib = koffi.load(null) // the C library that this process runs on
    // ioctl is variadic in C; with three arguments both ABIs that are supported pass them in the same registers.
    const ioctl = lib.func('ioctl', 'int', ['int', 'ulong', 'void *'])
    const flock = lib.func('flock', 'int', ['int', 'int'])
    const setrlimit = lib.func('setrlimit', 'int', ['int', 'void *'])
    const errno = (result: number): number => (result < 0 ? koffi.errno() : 0)
    const checked = (result: number, call: string): number => {
        if (result >= 0) return result
        throw driverError('ERR_DEVICE_IO', `${call} failed with errno ${koffi.errno()}`)
    }
    return {
        ioctl: (fd, request, argument) =>
            new Promise((resolve, reject) => {
                ioctl.async(fd, request, argument, (error, result) =>
                    error ? reject(error) : resolve({ result, errno: errno(result) }),
                )
            }),
        addressOf: (buffer) => koffi.address(buffer),
        tryLock(fd) {
            const result = flock(fd, LOCK_EX | LOCK_NB)
            if (result === 0) return true
            const code = errno(result)
            if (code === constants.errno.EWOULDBLOCK) return false
            throw driverError('ERR_LOCK', `flock failed with errno ${code}`)
        },
        peerUser(fd) {
            const getsockopt = lib.func('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *'])
            const credentials = Buffer.alloc(12) // struct ucred: pid, uid, gid
            const size = sizeOf(credentials)
            checked(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, size), 'getsockopt')
            return credentials.readUInt32LE(4)
        },
        peerName(fd) {
            const getpeername = lib.func('getpeername', 'int', ['int', 'void *', 'void *'])
            const address = Buffer.alloc(SOCKADDR_UN_SIZE)
            const size = sizeOf(address)
            checked(getpeername(fd, address, size), 'getpeername')
            return address.subarray(2, Math.min(size.readUInt32LE(0), address.length))
        },
        sendDatagram(path, bytes) {
            const socket = lib.func('socket', 'int', ['int', 'int', 'int'])
            const sendto = lib.func('sendto', 'long', ['int', 'void *', 'ulong', 'int', 'void *', 'uint'])
            const fd = checked(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket')
            try {
                const address = unixAddress(path)
                return sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length) === bytes.length
            } finally {
                closeSync(fd)
            }
        },
        forbidCoreDumps: () => void setrlimit(RLIMIT_CORE, NO_CORE),
    }
}

/** A socklen_t that a call reads and writes. */
export function sizeOf(buffer: Buffer): Buffer {
    const size = Buffer.alloc(4)
    size.writeUInt32LE(buffer.length)
    return size
}

function unixAddress(path: string): Buffer {
    const abstract = path.startsWith('@')
    const name = Buffer.from(abstract ? `\0${path.slice(1)}` : `${path}\0`)
    if (name.length > SOCKADDR_UN_SIZE - 2) throw driverError('ERR_DEVICE_IO', `${path}: too long for a unix socket`)
    const family = Buffer.alloc(2)
    family.writeUInt16LE(AF_UNIX)
    return Buffer.concat([family, name])
}

function loadKoffi(): Koffi {
    const tried: unknown[] = []
    for (const find of typeof GUEST_ATTEST_KOFFI_PATH === 'undefined' ? [glibcPackage, muslPackage] : [builtIn])
        try {
            const module = { exports: {} }
            process.dlopen(module, find())
            return module.exports as Koffi
        } catch (error) {
            if (error instanceof AttestError) throw error
            tried.push(error)
        }
    throw driverError(
        'ERR_DEVICE_IO',
        `the foreign function interface does not load on ${process.platform}-${process.arch}`,
        {
            cause: new AggregateError(tried),
            hint: 'only Linux on x64 and arm64 has the devices; the verifying half runs everywhere',
        },
    )
}

// An executable knows its library by path and digest, and tries nothing else. What is loaded is the file that was
// hashed: the name of the open file, not the path, which may lead elsewhere by then. It stays open for that.
function builtIn(): string {
    const fd = openSync(KOFFI_PATH, 'r')
    const digest = createHash('sha256').update(readFileSync(fd)).digest('hex')
    if (digest !== KOFFI_SHA256)
        throw driverError('ERR_DEVICE_IO', `${KOFFI_PATH}: expected SHA-256 ${KOFFI_SHA256}, got ${digest}`, {
            hint: 'this library belongs to another version of the program: install both from one package',
        })
    return `/proc/self/fd/${fd}`
}

const glibcPackage = (): string => inPackage('linux')
const muslPackage = (): string => inPackage('musl')

function inPackage(kind: string): string {
    const main = createRequire(import.meta.url).resolve(`@koromix/koffi-linux-${process.arch}`)
    return join(dirname(main), `${kind}_${process.arch}`, 'koffi.node')
}
