// A connected or listening socket of any family as Node's streams know them. Node's event loop says when a descriptor is
// ready; no thread waits for it, and nothing is asked twice.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { Duplex } from 'node:stream'
import { type PollEvents, type PollHandle, type SocketCalls, systemError, wouldWait } from './socket-calls.ts'

const READ_SIZE = 64 * 1024
/** Reads of one connection before the others have their turn. */
const BURST = 4
const BACKLOG = 511 // Node's own
const ACCEPTED_AT_ONCE = 64
/** Without descriptors or memory, a pause is all that helps. */
const EXHAUSTED_PAUSE_MS = 100

const { EINPROGRESS, ECONNABORTED, EPROTO, ENOTCONN, ECONNRESET } = constants.errno

type Done = (error?: Error | null) => void

/** Every read of this thread goes through it, and what came is copied out. */
const scratch = Buffer.allocUnsafeSlow(READ_SIZE)

/** Tells when a descriptor is ready for what is wanted of it. */
class Readiness {
    readonly #calls: SocketCalls
    readonly #fd: number
    readonly #ready: (events: PollEvents, failed: boolean) => void
    #handle: PollHandle | undefined
    #wanted = { readable: false, writable: false }
    #scheduled = false
    #closed = false

    constructor(calls: SocketCalls, fd: number, ready: (events: PollEvents, failed: boolean) => void) {
        this.#calls = calls
        this.#fd = fd
        this.#ready = ready
    }

    want(readable: boolean, writable: boolean): void {
        const { readable: reads, writable: writes } = this.#wanted
        if (this.#closed || (readable === reads && writable === writes)) return
        this.#wanted = { readable, writable }
        if (!readable && !writable) this.#handle?.stop()
        else if (this.#handle) this.#handle.start(this.#wanted, this.#told)
        else this.#handle = this.#calls.poll(this.#fd, this.#wanted, this.#told)
    }

    // koffi calls from outside of Node's own scope: promises and ticks that begin there would wait for something else to
    // happen. An immediate runs in the same turn of the loop, as Node's own.
    readonly #told = (status: number, events: PollEvents): void => {
        if (status < 0) this.#wanted = { readable: false, writable: false } // libuv has stopped watching
        if (this.#scheduled) return
        this.#scheduled = true
        setImmediate(() => {
            this.#scheduled = false
            if (!this.#closed) this.#ready(events, status < 0)
        })
    }

    close(): void {
        if (this.#closed) return
        this.#closed = true
        this.#handle?.close()
    }
}

export interface StreamSocketOptions {
    /** Who is at the other end, for messages. */
    readonly peer: string
    /** Goes on sending after the other side has ended; else it ends too, as sockets of Node do. */
    readonly allowHalfOpen?: boolean
}

/** Takes the descriptor over and closes it once. */
export class StreamSocket extends Duplex {
    readonly peer: string
    readonly #calls: SocketCalls
    readonly #fd: number
    readonly #readiness: Readiness
    #wantsData = false
    #unsent: { readonly bytes: Uint8Array; readonly done: Done } | undefined

    constructor(calls: SocketCalls, fd: number, { peer, allowHalfOpen = false }: StreamSocketOptions) {
        super({ allowHalfOpen, readableHighWaterMark: READ_SIZE, writableHighWaterMark: READ_SIZE })
        this.peer = peer
        this.#calls = calls
        this.#fd = fd
        this.#readiness = new Readiness(calls, fd, (events, failed) => this.#ready(events, failed))
    }

    #ready({ readable, writable }: PollEvents, failed: boolean): void {
        if (writable || failed) this.#flush()
        if (readable || failed) this.#fill()
        if (this.destroyed) return
        // What broke and says nothing of it would be told of for ever.
        if (failed) this.destroy(this.#error(this.#calls.pendingError(this.#fd) || ECONNRESET, 'poll'))
        else this.#watch()
    }

    #watch(): void {
        this.#readiness.want(this.#wantsData, this.#unsent !== undefined)
    }

    #fill(): void {
        for (let reads = 0; reads < BURST && this.#wantsData && !this.destroyed; reads++) {
            const count = this.#calls.receive(this.#fd, scratch)
            if (wouldWait(count)) return
            if (count < 0) return void this.destroy(this.#error(-count, 'recv'))
            if (count === 0) {
                this.#wantsData = false
                this.push(null)
            } else if (!this.push(Buffer.from(scratch.subarray(0, count)))) this.#wantsData = false
        }
    }

    #flush(): void {
        const { bytes, done } = this.#unsent ?? {}
        if (!bytes || !done) return
        this.#unsent = undefined
        this.#send(bytes, done)
    }

    #send(bytes: Uint8Array, done: Done): void {
        const count = bytes.length === 0 ? 0 : this.#calls.send(this.#fd, bytes)
        if (count === bytes.length) done()
        else if (count < 0 && !wouldWait(count)) done(this.#error(-count, 'send'))
        else this.#unsent = { bytes: bytes.subarray(Math.max(count, 0)), done }
    }

    override _read(): void {
        this.#wantsData = true
        this.#watch()
    }

    override _write(chunk: Uint8Array, _: BufferEncoding, done: Done): void {
        this.#send(chunk, done)
        this.#watch()
    }

    override _final(done: Done): void {
        const result = this.#calls.shutdownSending(this.#fd)
        // Where the other side has gone altogether there is nobody to tell.
        done(result < 0 && result !== -ENOTCONN ? this.#error(-result, 'shutdown') : null)
    }

    override _destroy(error: Error | null, done: Done): void {
        this.#readiness.close()
        this.#calls.close(this.#fd)
        const unsent = this.#unsent
        this.#unsent = undefined
        unsent?.done(error ?? this.#error(ECONNRESET, 'send'))
        done(error)
    }

    #error(errno: number, syscall: string): Error {
        return systemError(errno, syscall, this.peer)
    }
}

/** @throws an error of the system call, the signal's reason */
export async function connectStream(
    calls: SocketCalls,
    family: number,
    address: Uint8Array,
    options: StreamSocketOptions,
    signal: AbortSignal,
): Promise<StreamSocket> {
    signal.throwIfAborted()
    const fd = opened(calls, family, options.peer)
    try {
        const result = calls.connect(fd, address)
        if (result < 0 && result !== -EINPROGRESS) throw systemError(-result, 'connect', options.peer)
        if (result < 0) await connected(calls, fd, options.peer, signal)
        return new StreamSocket(calls, fd, options)
    } catch (error) {
        calls.close(fd)
        throw error
    }
}

/** A socket of that family. @throws an error of the system call */
function opened(calls: SocketCalls, family: number, where: string): number {
    const fd = calls.socket(family)
    if (fd < 0) throw systemError(-fd, 'socket', where)
    return fd
}

async function connected(calls: SocketCalls, fd: number, peer: string, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const end = () => reject(signal.reason)
    const readiness = new Readiness(calls, fd, () => {
        const errno = calls.pendingError(fd)
        if (errno === 0) resolve()
        else reject(systemError(errno, 'connect', peer))
    })
    signal.addEventListener('abort', end)
    try {
        readiness.want(false, true)
        await promise
    } finally {
        signal.removeEventListener('abort', end)
        readiness.close()
    }
}

/** Whoever accepts connections, until it is closed; those that it has handed over live on. */
export interface Listener {
    /** Where it listens, with the port that the kernel has chosen. */
    readonly address: string
    close(): Promise<void>
}

export interface StreamListening {
    readonly where: string
    /** The address of the peer is as long as the one that was bound. */
    readonly accepted: (fd: number, peer: Buffer) => void
    /** It goes on after a pause. */
    readonly failed: (error: Error) => void
}

/** @returns what stops it, and the address that is bound. @throws an error of the system call */
export function listenStream(
    calls: SocketCalls,
    family: number,
    address: Buffer,
    { where, accepted, failed }: StreamListening,
): { close(): void; bound: Buffer } {
    const fd = opened(calls, family, where)
    const check = (result: number, syscall: string) => {
        if (result < 0) throw systemError(-result, syscall, where)
    }
    const bound = Buffer.alloc(address.length)
    try {
        check(calls.bind(fd, address), 'bind')
        check(calls.listen(fd, BACKLOG), 'listen')
        check(calls.localAddress(fd, bound), 'getsockname')
    } catch (error) {
        calls.close(fd)
        throw error
    }
    let again: NodeJS.Timeout | undefined
    const peer = Buffer.alloc(address.length)
    const rest = (error: Error) => {
        readiness.want(false, false)
        again = setTimeout(() => readiness.want(true, false), EXHAUSTED_PAUSE_MS)
        failed(error)
    }
    const readiness = new Readiness(calls, fd, () => {
        for (let count = 0; count < ACCEPTED_AT_ONCE; count++) {
            const connection = calls.accept(fd, peer.fill(0))
            if (wouldWait(connection)) return readiness.want(true, false)
            if (connection === -ECONNABORTED || connection === -EPROTO) continue // it has gone again
            if (connection < 0) return rest(systemError(-connection, 'accept', where))
            accepted(connection, peer)
        }
        readiness.want(true, false)
    })
    readiness.want(true, false)
    let open = true
    return {
        bound,
        close() {
            if (!open) return
            open = false
            clearTimeout(again)
            readiness.close()
            calls.close(fd)
        },
    }
}
