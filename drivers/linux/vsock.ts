// AF_VSOCK: streams between a guest and its host that need no network (vsock(7), <linux/vm_sockets.h>).
// SPDX-License-Identifier: Apache-2.0

import { closeSync, openSync } from 'node:fs'
import { libc } from './libc.ts'
import { AF_VSOCK, type SocketCalls, sockets } from './socket-calls.ts'
import { connectStream, type Listener, listenStream, StreamSocket } from './stream-socket.ts'

export interface VsockAddress {
    /** Who: 2 is the host, 1 this machine itself, others its guests. */
    readonly cid: number
    readonly port: number
}

/** VMADDR_CID_ANY, to listen: whoever this machine is. */
export const ANY_CID = 0xffff_ffff

/** struct sockaddr_vm: family and a reserved word, port, cid, flags, three zeros; in the machine's order of bytes. */
const SOCKADDR_SIZE = 16

/** IOCTL_VM_SOCKETS_GET_LOCAL_CID, of /dev/vsock. */
const GET_LOCAL_CID = 0x7b9

/** As it stands in logs and messages. */
export const formatVsock = ({ cid, port }: VsockAddress): string => `vsock:${cid === ANY_CID ? 'any' : cid}:${port}`

/** @throws an error of the system call (ENODEV where the machine has no vsock device), the signal's reason */
export const connectVsock = (address: VsockAddress, signal: AbortSignal, allowHalfOpen = false) =>
    connectStream(sockets(), AF_VSOCK, sockaddr(address), { peer: formatVsock(address), allowHalfOpen }, signal)

export interface VsockListening {
    readonly accepted: (socket: StreamSocket, peer: VsockAddress) => void
    /** What went wrong with one connection; it goes on listening. */
    readonly failed: (error: Error) => void
}

/** @throws an error of the system call */
export function listenVsock(
    address: VsockAddress,
    { accepted, failed }: VsockListening,
    calls: SocketCalls = sockets(),
): Listener {
    const { bound, close } = listenStream(calls, AF_VSOCK, sockaddr(address), {
        where: formatVsock(address),
        accepted(fd, raw) {
            const peer = readSockaddr(raw)
            accepted(new StreamSocket(calls, fd, { peer: formatVsock(peer), allowHalfOpen: true }), peer)
        },
        failed,
    })
    return { address: formatVsock(readSockaddr(bound)), close: async () => close() }
}

/** The CID of this machine; null where it has no vsock device. */
export async function localCid(): Promise<number | null> {
    let fd: number
    try {
        fd = openSync('/dev/vsock', 'r')
    } catch {
        return null
    }
    try {
        const argument = Buffer.alloc(4)
        const { result } = await libc().ioctl(fd, GET_LOCAL_CID, argument)
        const cid = argument.readUInt32LE()
        return result < 0 || cid === ANY_CID ? null : cid // the module without a device has the latter
    } finally {
        closeSync(fd)
    }
}

export function sockaddr({ cid, port }: VsockAddress): Buffer {
    const bytes = Buffer.alloc(SOCKADDR_SIZE)
    bytes.writeUInt16LE(AF_VSOCK, 0)
    bytes.writeUInt32LE(port, 4)
    bytes.writeUInt32LE(cid, 8)
    return bytes
}

const readSockaddr = (bytes: Buffer): VsockAddress => ({ port: bytes.readUInt32LE(4), cid: bytes.readUInt32LE(8) })
