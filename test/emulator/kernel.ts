// The kernel's side of a FUSE connection, in memory: what a process does with files, as messages to a session.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import {
    ENTRY_OUT,
    HANDLE_IN,
    IN_HEADER,
    INTERRUPT_IN,
    IOCTL_IN,
    IOCTL_OUT,
    MKDIR_IN,
    OPCODES,
    OPEN_IN,
    OPEN_OUT,
    type Opcode,
    OUT_HEADER,
    ROOT_INODE,
    TRANSFER_IN,
} from '#emulator/fuse-wire.ts'
import { fuseSession } from '#emulator/session.ts'
import type { Folder } from '#emulator/tree.ts'

export interface Kernel {
    /** Sends a message; its answer's payload, or an error whose message is the errno's name. */
    ask(opcode: Opcode, nodeid: bigint, ...body: Uint8Array[]): Promise<Buffer>
    /** The number of the last message that was sent. */
    readonly last: () => bigint
    interrupt(unique: bigint): void
    find(path: string): Promise<bigint>
    stat(path: string): Promise<{ readonly mode: number; readonly size: bigint }>
    list(path: string): Promise<string[]>
    mkdir(path: string): Promise<void>
    rmdir(path: string): Promise<void>
    unlink(path: string): Promise<void>
    open(path: string, flags: number): Promise<OpenFile>
    readFile(path: string): Promise<Buffer>
    writeFile(path: string, bytes: Uint8Array | string): Promise<void>
    /** What the session complained about: nothing, unless it is wrong. */
    readonly complaints: string[]
}

export interface OpenFile {
    read(size?: number, offset?: number): Promise<Buffer>
    write(bytes: Uint8Array | string, offset?: number): Promise<void>
    close(): Promise<void>
    ioctl(
        cmd: number,
        arg: bigint,
        input: Uint8Array,
        outSize: number,
    ): Promise<{ errno: string | null; output: Buffer }>
}

export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2

const PID = 4711

export function kernel(root: Folder, isBeingKilled: () => boolean = () => false): Kernel {
    const waiting = new Map<bigint, { resolve: (payload: Buffer) => void; reject: (error: Error) => void }>()
    const complaints: string[] = []
    let unique = 0n

    const receive = fuseSession(
        root,
        {
            send(reply) {
                const header = OUT_HEADER.parse(reply.subarray(0, OUT_HEADER.size))
                const waiter = waiting.get(header.unique)
                waiting.delete(header.unique)
                if (!waiter) complaints.push(`nobody waits for the answer to ${header.unique}`)
                else if (header.error) waiter.reject(new Error(errnoName(-(header.error | 0))))
                else waiter.resolve(reply.subarray(OUT_HEADER.size))
            },
            isBeingKilled,
            complain: (text) => complaints.push(text),
        },
        0,
    )
    const send = (opcode: Opcode, nodeid: bigint, body: readonly Uint8Array[]): bigint => {
        unique += 2n
        const len = body.reduce((sum, { length }) => sum + length, IN_HEADER.size)
        const header = IN_HEADER.encode({ len, opcode: OPCODES[opcode], unique, nodeid, uid: 0, gid: 0, pid: PID })
        receive(Buffer.concat([header, ...body]))
        return unique
    }
    const ask: Kernel['ask'] = (opcode, nodeid, ...body) =>
        new Promise((resolve, reject) => {
            waiting.set(unique + 2n, { resolve, reject })
            send(opcode, nodeid, body)
        })

    const entryOf = async (path: string) => {
        let nodeid = BigInt(ROOT_INODE)
        let entry = { nodeid, attr: { mode: 0, size: 0n } }
        for (const name of path.split('/').filter(Boolean)) {
            entry = ENTRY_OUT.parse(await ask('lookup', nodeid, cString(name)))
            nodeid = entry.nodeid
        }
        return entry
    }
    const find = async (path: string) => (await entryOf(path)).nodeid
    const inParent = async (opcode: Opcode, path: string, ...before: Uint8Array[]) => {
        const at = path.lastIndexOf('/')
        await ask(opcode, await find(path.slice(0, at)), ...before, cString(path.slice(at + 1)))
    }

    const self: Kernel = {
        ask,
        last: () => unique,
        interrupt: (request) => void send('interrupt', 0n, [INTERRUPT_IN.encode({ unique: request })]),
        find,
        stat: async (path) => (await entryOf(path)).attr,
        async list(path) {
            const body = TRANSFER_IN.encode({ fh: 0n, offset: 0n, size: 4096 })
            const names: string[] = []
            const listing = await ask('readdir', await find(path), body)
            for (let at = 0; at < listing.length; ) {
                const length = listing.readUInt32LE(at + 16)
                names.push(listing.toString('utf8', at + 24, at + 24 + length))
                at += (24 + length + 7) & ~7
            }
            return names.filter((name) => !name.startsWith('.')).toSorted((a, b) => a.localeCompare(b))
        },
        mkdir: (path) => inParent('mkdir', path, MKDIR_IN.encode({ mode: 0o755, umask: 0 })),
        rmdir: (path) => inParent('rmdir', path),
        unlink: (path) => inParent('unlink', path),
        async open(path, flags) {
            const nodeid = await find(path)
            const { fh } = OPEN_OUT.parse(await ask('open', nodeid, OPEN_IN.encode({ flags, openFlags: 0 })))
            const transfer = (offset: number, size: number) => TRANSFER_IN.encode({ fh, offset: BigInt(offset), size })
            return {
                read: (size = 65536, offset = 0) => ask('read', nodeid, transfer(offset, size)),
                async write(bytes, offset = 0) {
                    const data = Buffer.from(bytes)
                    await ask('write', nodeid, transfer(offset, data.length), data)
                },
                async close() {
                    await ask('flush', nodeid, HANDLE_IN.encode({ fh }))
                    await ask('release', nodeid, HANDLE_IN.encode({ fh }))
                },
                async ioctl(cmd, arg, input, outSize) {
                    const head = IOCTL_IN.encode({ fh, flags: 0, cmd, arg, inSize: input.length, outSize })
                    const reply = await ask('ioctl', nodeid, head, input)
                    const { result } = IOCTL_OUT.parse(reply.subarray(0, IOCTL_OUT.size))
                    return { errno: result ? errnoName(-(result | 0)) : null, output: reply.subarray(IOCTL_OUT.size) }
                },
            }
        },
        async readFile(path) {
            const file = await self.open(path, O_RDONLY)
            try {
                return await file.read()
            } finally {
                await file.close()
            }
        },
        async writeFile(path, bytes) {
            const file = await self.open(path, O_WRONLY)
            try {
                await file.write(bytes)
            } finally {
                await file.close()
            }
        },
        complaints,
    }
    return self
}

const cString = (name: string): Buffer => Buffer.from(`${name}\0`)

const errnoName = (errno: number): string =>
    Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? String(errno)
