// One FUSE or CUSE connection: a message comes in, an operation answers, a reply goes out. Messages are answered in any
// order; a caller that is being killed is answered at once. No I/O here.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { messageOf } from '#core/errors.ts'
import { Errno } from './errno.ts'
import { encodeReply, type Header, INTERRUPT_IN, OPCODES, type Opcode, readMessage } from './fuse-wire.ts'
import { fileOperations, type Operations } from './operations.ts'
import type { Folder } from './tree.ts'

export interface SessionDoors {
    /** Hands a reply to the kernel. */
    send(reply: Buffer): void
    /** Whether a signal that kills this thread waits for it: the kernel says only that there is a signal. */
    isBeingKilled(threadId: number): boolean
    /** Something in the emulator is wrong: the caller gets EIO. */
    complain(text: string): void
}

/** How often a caller that a signal has reached is looked at. */
const INTERRUPT_POLL_MS = 50

/** A tree of files. @returns what takes each message */
export function fuseSession(root: Folder, doors: SessionDoors, startS: number): (message: Buffer) => void {
    return session(fileOperations(root, startS), doors)
}

/** @returns what takes each message; one that has no operation is not known here (ENOSYS) */
export function session(operations: Partial<Operations>, doors: SessionDoors): (message: Buffer) => void {
    const pending = new Map<bigint, { readonly pid: number; readonly kill: AbortController }>()

    // A signal that the caller handles does not end its request: the real drivers wait killable, not interruptible. The
    // kernel tells of the first signal only, so a later one is looked for until the request ends.
    function watchCaller(unique: bigint): void {
        const request = pending.get(unique)
        if (!request) return
        if (doors.isBeingKilled(request.pid)) request.kill.abort()
        else setTimeout(() => watchCaller(unique), INTERRUPT_POLL_MS)
    }

    function answer(unique: bigint, errno: number, payload: readonly Uint8Array[] = []): void {
        pending.delete(unique)
        doors.send(encodeReply(unique, errno, ...payload))
    }

    async function handle(operation: Operation, name: string, header: Header, body: Buffer): Promise<void> {
        const { unique, pid } = header
        const kill = new AbortController()
        pending.set(unique, { pid, kill })
        kill.signal.addEventListener('abort', () => answer(unique, constants.errno.EINTR))
        const stillWaits = () => pending.has(unique)
        try {
            const reply = await operation({ header, body, caller: { pid, signal: kill.signal } })
            if (reply === null) pending.delete(unique)
            else if (stillWaits()) answer(unique, 0, reply)
        } catch (error) {
            if (!(error instanceof Errno)) doors.complain(`${name}: ${messageOf(error)}`)
            if (stillWaits()) answer(unique, error instanceof Errno ? error.errno : constants.errno.EIO)
        }
    }

    return (message) => {
        const { header, body } = readMessage(message)
        const name = NAMES.get(header.opcode)
        if (name === 'interrupt') watchCaller(INTERRUPT_IN.parse(body).unique)
        else if (name && operations[name]) void handle(operations[name], name, header, body)
        else answer(header.unique, constants.errno.ENOSYS)
    }
}

type Operation = Operations[keyof Operations]

const NAMES: ReadonlyMap<number, Opcode> = new Map(
    Object.entries(OPCODES).map(([name, opcode]) => [opcode, name as Opcode]),
)
