// The memory of a caller that waits inside its ioctl(2). A model reads and writes it as if it lay there; here it is run
// again until every range that it reads has been fetched, and what it writes is written when it has come to its end.
// Nothing of it blocks this process: a page of the caller may itself be a file that this process serves. A server of
// character devices (CUSE) would fetch the same ranges through the kernel's own retries.
// SPDX-License-Identifier: Apache-2.0

import { type FileHandle, open } from 'node:fs/promises'
import { Errno } from './errno.ts'
import type { UserMem } from './model.ts'

export interface Range {
    readonly address: bigint
    readonly bytes: Buffer
}

/** Where ranges are fetched from and written to. @throws Errno EFAULT */
export interface CallerMemory {
    fetch(address: bigint, length: number): Promise<Buffer>
    store(range: Range): Promise<void>
}

/** More than a model asks for in a request, and an end for one that asks for ever. */
const MAX_ROUNDS = 16

/**
 * Runs a model against a caller's memory.
 * @param known what need not be fetched: the argument, which came with the request
 * @returns the answer of the last run, and what it wrote, in its order
 * @throws Errno EFAULT
 */
export async function runAgainst<A>(
    memory: CallerMemory,
    known: readonly Range[],
    run: (memory: UserMem) => A,
): Promise<{ readonly answer: A; readonly writes: readonly Range[] }> {
    const fetched = [...known]
    for (let round = 0; round < MAX_ROUNDS; round++) {
        const writes: Range[] = []
        let missing: Missing | undefined
        try {
            const answer = run({
                read(address, length) {
                    const range = fetched.find((range) => holds(range, address, length))
                    if (!range) {
                        missing = new Missing(address, length)
                        throw missing
                    }
                    const at = Number(address - range.address)
                    return Buffer.from(range.bytes.subarray(at, at + length))
                },
                write: (address, bytes) => void writes.push({ address, bytes: Buffer.from(bytes) }),
            })
            return { answer, writes }
        } catch (error) {
            if (error !== missing || !missing) throw error
            const { address, length } = missing
            fetched.push({ address, bytes: await memory.fetch(address, length) })
        }
    }
    throw new Error(`a device model reads more than ${MAX_ROUNDS} ranges for one request`)
}

/** The memory of a thread, by its id. This process may read it where it may trace it: same user, or root. */
export function processMemory(threadId: number): CallerMemory {
    const withMemory = async <T>(flags: 'r' | 'r+', use: (file: FileHandle) => Promise<T>): Promise<T> => {
        let file: FileHandle | undefined
        try {
            file = await open(`/proc/${threadId}/mem`, flags)
            return await use(file)
        } catch {
            throw new Errno('EFAULT') // not mapped, not ours to see, or gone
        } finally {
            await file?.close()
        }
    }
    return {
        fetch: (address, length) =>
            withMemory('r', async (file) => {
                const bytes = Buffer.alloc(length)
                for (let done = 0; done < length; ) {
                    const { bytesRead } = await file.read(bytes, done, length - done, address + BigInt(done))
                    if (bytesRead === 0) throw new Errno('EFAULT')
                    done += bytesRead
                }
                return bytes
            }),
        store: ({ address, bytes }) =>
            withMemory('r+', async (file) => {
                for (let done = 0; done < bytes.length; ) {
                    const at = Number(address) + done
                    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at)
                    if (bytesWritten === 0) throw new Errno('EFAULT')
                    done += bytesWritten
                }
            }),
    }
}

class Missing extends Error {
    readonly address: bigint
    readonly length: number

    constructor(address: bigint, length: number) {
        super('not fetched yet')
        this.address = address
        this.length = length
    }
}

const holds = ({ address, bytes }: Range, from: bigint, length: number): boolean =>
    from >= address && from + BigInt(length) <= address + BigInt(bytes.length)
