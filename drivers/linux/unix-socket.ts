// Unix sockets, in the same terms as vsock: they stand in for it where a machine has none, and hypervisors that show a
// guest's vsock as unix sockets of the host (Firecracker, Cloud Hypervisor) are met here.
// SPDX-License-Identifier: Apache-2.0

import { once } from 'node:events'
import { lstatSync, rmSync } from 'node:fs'
import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import { errnoOf } from '#core/errors.ts'
import type { Listener } from './stream-socket.ts'

/** @throws an error of the system call, the signal's reason */
export const connectUnix = (path: string, signal: AbortSignal, allowHalfOpen = false): Promise<Socket> =>
    connectSocket({ path, allowHalfOpen }, signal)

/** A socket of Node's, when it is connected. @throws an error of the system call, the signal's reason */
export async function connectSocket(options: NetConnectOpts, signal: AbortSignal): Promise<Socket> {
    signal.throwIfAborted()
    const socket = connect(options)
    try {
        await once(socket, 'connect', { signal })
        return socket
    } catch (error) {
        socket.on('error', () => undefined).destroy()
        throw signal.aborted ? signal.reason : error
    }
}

export interface UnixListening {
    readonly accepted: (socket: Socket) => void
    readonly failed: (error: Error) => void
}

/**
 * Its mode is what the umask leaves. A socket that nobody serves any more is replaced; nothing else is.
 * @throws an error of the system call
 */
export async function listenUnix(path: string, { accepted, failed }: UnixListening): Promise<Listener> {
    await removeStale(path)
    const server = createServer({ allowHalfOpen: true }, accepted)
    server.listen(path)
    await once(server, 'listening')
    server.on('error', failed)
    return {
        address: `unix:${path}`,
        // Node removes the path. Connections that were handed over live on; nobody waits for them here.
        close: async () => void server.close(),
    }
}

async function removeStale(path: string): Promise<void> {
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return
    try {
        const socket = await connectUnix(path, AbortSignal.timeout(1000))
        socket.destroy()
    } catch (error) {
        if (errnoOf(error) === 'ECONNREFUSED') rmSync(path, { force: true })
    }
}
