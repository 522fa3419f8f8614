// The files and folders that the emulator serves, and the kinds of attribute that configfs and sysfs have.
// Linux fs/configfs/file.c, dir.c.
// SPDX-License-Identifier: Apache-2.0

import { Errno } from './errno.ts'
import type { ErrnoName } from './model.ts'

export interface Folder {
    readonly mode: number
    readonly entries: Map<string, Node>
    /** What a process makes here with mkdir(2). Absent: it may not. Removing is allowed where making is. */
    readonly make?: (name: string) => Folder
    /** Called when it has been removed. */
    readonly removed?: () => void
}

export interface File {
    /** Permission bits; they hold for root, too, as in configfs. */
    readonly mode: number
    /** What stat(2) says: nobody knows it beforehand. */
    readonly size: number
    open(): Handle
    /** Before it is removed from its folder. Absent: it is not. */
    unlink?(caller: Caller): Promise<void>
}

export type Node = Folder | File

/** An open file. What is absent, the file cannot do. */
export interface Handle {
    read?(offset: number, size: number, caller: Caller): Promise<Buffer>
    write?(offset: number, bytes: Buffer, caller: Caller): void | Promise<void>
    /** close(2), of each descriptor that stands for the handle. */
    flush?(): void
    ioctl?(request: IoctlRequest, caller: Caller): Promise<IoctlReply>
}

export interface Caller {
    /** Of the thread; 0 where it is in a pid namespace that this process does not see. */
    readonly pid: number
    /** Aborted when the caller is being killed. */
    readonly signal: AbortSignal
}

export interface IoctlRequest {
    readonly command: number
    readonly argument: bigint
    /** The argument's bytes, if its number says that it is written, and how many it takes back. */
    readonly input: Buffer
    readonly outputSize: number
}

export interface IoctlReply {
    readonly errno?: ErrnoName | undefined
    readonly output: Buffer
}

export const isFolder = (node: Node): node is Folder => 'entries' in node

export const folder = (entries: Readonly<Record<string, Node>> = {}, mode = 0o755): Folder => ({
    mode,
    entries: new Map(Object.entries(entries)),
})

/** What text attributes say of their size: a page. Binary ones say 0. */
export const TEXT_SIZE = 4096

/** An attribute that is read: its value is taken at the first read of each open file that succeeds. */
export function readAttribute(mode: number, size: number, value: (caller: Caller) => Promise<Buffer> | Buffer): File {
    return {
        mode,
        size,
        open() {
            let taken: Promise<Buffer> | undefined
            return {
                async read(offset, length, caller) {
                    taken ??= Promise.resolve(value(caller)).catch((error: unknown) => {
                        taken = undefined
                        throw error
                    })
                    return (await taken).subarray(offset, offset + length)
                },
            }
        },
    }
}

export const textAttribute = (mode: number, value: () => string): File =>
    readAttribute(mode, TEXT_SIZE, async () => Buffer.from(`${value()}\n`))

/** A binary attribute that is written: bytes gather until close(2), which commits them and hides what that says. */
export function binaryWriteAttribute(mode: number, maxSize: number, commit: (bytes: Buffer) => void): File {
    return {
        mode,
        size: 0,
        open() {
            let gathered = Buffer.alloc(0)
            let dirty = false
            return {
                write(offset, bytes) {
                    const end = offset + bytes.length
                    if (end > maxSize) throw new Errno('EFBIG')
                    const grown = Buffer.alloc(Math.max(gathered.length, end))
                    grown.set(gathered)
                    grown.set(bytes, offset)
                    gathered = grown
                    dirty = true
                },
                // FLUSH comes before close(2) returns; RELEASE would race with what the caller does next.
                flush() {
                    if (!dirty) return
                    dirty = false
                    try {
                        commit(gathered)
                    } catch (error) {
                        if (!(error instanceof Errno)) throw error
                    }
                },
            }
        },
    }
}

/** A text attribute that is written: stored inside write(2), which therefore says what is wrong. */
export const textWriteAttribute = (mode: number, store: (text: string) => void): File => ({
    mode,
    size: TEXT_SIZE,
    open: () => ({ write: (_offset, bytes) => store(bytes.toString('latin1')) }),
})
