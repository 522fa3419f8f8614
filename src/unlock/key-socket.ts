// The front end of systemd: crypttab names a unix socket as the key file, and systemd-cryptsetup(8) connects to it once,
// reads to its end, and takes what it got for the key, nothing for the empty passphrase. The connection is held until the
// key is there, or closed with a passphrase that opens nothing.
// crypttab(5), "AF_UNIX key files": the client's own address is abstract, and ends in `/cryptsetup/VOLUME`.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import type { Server, Socket } from 'node:net'
import { type Secret, secret } from '#core/bytes.ts'
import type { Logger } from '#core/log.ts'
import { interruptible } from '#core/wait.ts'
import { LUKS_KEY_SIZE } from '#kbs/messages.ts'
import type { Handover } from './unlock-volume.ts'

export interface SocketDoors {
    /** The user at the other end of a unix socket, and its address; an abstract one begins with a zero byte. */
    peerUser(fd: number): number
    peerName(fd: number): Buffer
    /** sd_notify(3). */
    notify(state: string): void
}

export interface KeySocket extends Handover, AsyncDisposable {}

/** The only user who gets a key. */
const ROOT = 0

/** What systemd-cryptsetup may keep open at a time; nobody else may connect at all. */
const MAX_CONNECTIONS = 8

/**
 * Serves the key of one volume to the first systemd-cryptsetup that asks for it.
 * @param server listens already
 * @param user who may ask
 */
export function keySocket(name: string, server: Server, doors: SocketDoors, log: Logger, user = ROOT): KeySocket {
    const waiting = new Set<Socket>()
    let arrived = Promise.withResolvers<void>()
    server.maxConnections = MAX_CONNECTIONS
    server.on('connection', (socket) => {
        const refusal = refusalOf(socket)
        if (refusal !== null) {
            log.warn(`a connection was refused: ${refusal}`)
            socket.destroy()
            return
        }
        waiting.add(socket)
        socket.on('error', () => socket.destroy())
        socket.on('close', () => waiting.delete(socket))
        socket.resume() // nothing is expected; its end is
        arrived.resolve()
    })

    function refusalOf(socket: Socket): string | null {
        const fd = descriptorOf(socket)
        const uid = doors.peerUser(fd)
        if (uid !== user) return `user ${uid} asks`
        const address = doors.peerName(fd).toString('latin1')
        return address.startsWith('\0') && address.endsWith(`/cryptsetup/${name}`)
            ? null
            : `who asks is not systemd-cryptsetup for ${name}`
    }

    async function nextConnection(signal: AbortSignal): Promise<Socket> {
        for (;;) {
            const [socket] = waiting
            if (socket) {
                waiting.delete(socket) // each is tried once
                return socket
            }
            arrived = Promise.withResolvers()
            await interruptible(arrived.promise, signal)
        }
    }

    return {
        ready: () => doors.notify('READY=1'),
        async deliver(passphrase, signal) {
            while (!(await hand(await nextConnection(signal), passphrase))) log.warn('who asked has gone')
        },
        async [Symbol.asyncDispose]() {
            server.close()
            // Sent before the process ends: systemd-cryptsetup goes on without us, and nothing would be the empty passphrase.
            await Promise.all([...waiting].map((socket) => hand(socket, secret(randomBytes(LUKS_KEY_SIZE)))))
        },
    }
}

/** True where the other end has taken all of it. */
function hand(socket: Socket, passphrase: Secret): Promise<boolean> {
    return new Promise((resolve) => {
        if (socket.destroyed) return resolve(false)
        socket.once('finish', () => resolve(true))
        socket.once('close', () => resolve(false))
        socket.end(passphrase)
    })
}

// Node keeps the descriptor to itself; its handle has told it on Linux ever since there were handles.
function descriptorOf(socket: Socket): number {
    const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } }
    if (typeof handle?.fd !== 'number' || handle.fd < 0) throw new TypeError('a socket without a descriptor')
    return handle.fd
}
