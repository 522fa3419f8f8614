// The two ends of a relay: who calls, and who is called.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { Duplex } from 'node:stream'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import type { Listener } from '#drivers/linux/stream-socket.ts'
import { connectSocket, connectUnix, listenUnix } from '#drivers/linux/unix-socket.ts'
import { formatVsock, listenVsock } from '#drivers/linux/vsock.ts'
import { formatAddress, type RelayAddress, type Target } from './addresses.ts'

/** Who called. */
export interface Caller {
    readonly name: string
    /** Where vsock says which guest it is. */
    readonly cid: number | null
}

export interface Listening {
    readonly accepted: (stream: Duplex, caller: Caller) => void
    readonly failed: (error: Error) => void
}

/** @throws AttestError ERR_LISTEN */
export async function listen(address: RelayAddress, listening: Listening): Promise<Listener> {
    try {
        return await opened(address, listening)
    } catch (cause) {
        const code = errnoOf(cause)
        if (code === undefined || code.startsWith('ERR_')) throw cause
        throw coreError('ERR_LISTEN', messageOf(cause), { cause, hint: HINTS[code] })
    }
}

const HINTS: Readonly<Record<string, string>> = {
    EAFNOSUPPORT: 'load the kernel module vsock; on a host of KVM, vhost_vsock',
    EADDRNOTAVAIL: 'that address, or that CID, is not this machine’s',
    EADDRINUSE: 'another program listens there',
    EACCES: 'ports below 1024 want CAP_NET_BIND_SERVICE; a path, a folder that may be written to',
}

async function opened(address: RelayAddress, { accepted, failed }: Listening): Promise<Listener> {
    switch (address.kind) {
        case 'vsock':
            return listenVsock(address, {
                accepted: (socket, peer) => accepted(socket, { name: formatVsock(peer), cid: peer.cid }),
                failed,
            })
        case 'unix':
            if (!existsSync(dirname(address.path)))
                throw coreError('ERR_LISTEN', `${address.path}: there is no folder ${dirname(address.path)}`)
            return listenUnix(address.path, {
                accepted: (socket) => accepted(socket, { name: 'unix', cid: null }),
                failed,
            })
        case 'tcp': {
            const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
                accepted(socket, { name: `tcp:${socket.remoteAddress}:${socket.remotePort}`, cid: null }),
            )
            server.listen(address.port, address.host)
            await once(server, 'listening')
            server.on('error', failed)
            const { port } = server.address() as AddressInfo
            return { address: `tcp:${formatAddress({ ...address, port })}`, close: async () => void server.close() }
        }
    }
}

/** @throws an error of the system call, the signal's reason */
export const reach = (target: Target, signal: AbortSignal): Promise<Socket> =>
    target.kind === 'unix'
        ? connectUnix(target.path, signal, true)
        : connectSocket({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true }, signal)
