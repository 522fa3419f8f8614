// The calls on sockets of families that Node does not know, as the C library has them, and readiness from Node's own event
// loop. None of them waits: sockets are made non-blocking. Numbers are those of Linux on x64 and arm64.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { getSystemErrorMessage, getSystemErrorName } from 'node:util'
import { boundCall, koffi, MSG_NOSIGNAL, SOCK_CLOEXEC, SOL_SOCKET, sizeOf } from './libc.ts'

/** Each gives what the call gives, or the errno as a negative number, as the kernel itself does. */
export interface SocketCalls {
    /** A stream socket: non-blocking, closed in programs that are started. */
    socket(family: number): number
    bind(fd: number, address: Uint8Array): number
    listen(fd: number, backlog: number): number
    /** The address of whoever called is written to `address`. */
    accept(fd: number, address: Buffer): number
    connect(fd: number, address: Uint8Array): number
    receive(fd: number, into: Buffer): number
    send(fd: number, bytes: Uint8Array): number
    /** No more is sent: the other side reads an end. */
    shutdownSending(fd: number): number
    /** SO_ERROR: the errno of what went wrong meanwhile, positive; reading it forgets it. */
    pendingError(fd: number): number
    localAddress(fd: number, address: Buffer): number
    close(fd: number): number
    /** What koffi has of libuv's uv_poll_t. A negative status ends it until it is started again. */
    poll(fd: number, events: PollEvents, callback: (status: number, events: PollEvents) => void): PollHandle
}

export interface PollEvents {
    readonly readable: boolean
    readonly writable: boolean
}

export interface PollHandle {
    start(events: PollEvents, callback: (status: number, events: PollEvents) => void): void
    stop(): void
    /** Before the descriptor is closed; the handle must not be touched afterwards. */
    close(): void
}

export const AF_VSOCK = 40
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SO_ERROR = 4
const SHUT_WR = 1

let bound: SocketCalls | undefined

/** @throws AttestError ERR_DEVICE_IO where the native module cannot be loaded */
export function sockets(): SocketCalls {
    bound ??= bindAll()
    return bound
}

function bindAll(): SocketCalls {
    const socket = boundCall('socket', ['int', 'int', 'int'])
    const bind = boundCall('bind', ['int', 'void *', 'uint'])
    const accept4 = boundCall('accept4', ['int', 'void *', 'void *', 'int'])
    const connect = boundCall('connect', ['int', 'void *', 'uint'])
    const recv = boundCall('recv', ['int', 'void *', 'ulong', 'int'], 'long')
    const send = boundCall('send', ['int', 'void *', 'ulong', 'int'], 'long')
    const shutdown = boundCall('shutdown', ['int', 'int'])
    const getsockopt = boundCall('getsockopt', ['int', 'int', 'int', 'void *', 'void *'])
    const getsockname = boundCall('getsockname', ['int', 'void *', 'void *'])
    return {
        socket: (family) => socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        bind: (fd, address) => bind(fd, address, address.length),
        listen: boundCall('listen', ['int', 'int']),
        accept: (fd, address) => accept4(fd, address, sizeOf(address), SOCK_NONBLOCK | SOCK_CLOEXEC),
        connect: (fd, address) => connect(fd, address, address.length),
        receive: (fd, into) => recv(fd, into, into.length, 0),
        send: (fd, bytes) => send(fd, bytes, bytes.length, MSG_NOSIGNAL),
        shutdownSending: (fd) => shutdown(fd, SHUT_WR),
        pendingError(fd) {
            const error = Buffer.alloc(4)
            const result = getsockopt(fd, SOL_SOCKET, SO_ERROR, error, sizeOf(error))
            return result < 0 ? -result : error.readInt32LE()
        },
        localAddress: (fd, address) => getsockname(fd, address, sizeOf(address)),
        close: boundCall('close', ['int']),
        poll: koffi().node.poll,
    }
}

const { EAGAIN, EWOULDBLOCK, EINTR } = constants.errno

/** Whether a call would have had to wait. */
export const wouldWait = (result: number): boolean => result === -EAGAIN || result === -EWOULDBLOCK || result === -EINTR

/** As Node's own errors of system calls: with `code`, `errno` and `syscall`. */
export function systemError(errno: number, syscall: string, where: string): NodeJS.ErrnoException {
    const code = getSystemErrorName(-errno)
    const error = new Error(`${syscall} ${code} ${where}: ${getSystemErrorMessage(-errno)}`)
    return Object.assign(error, { code, errno: -errno, syscall })
}
