// A device as a real character device: /dev/cuse of Linux (fs/fuse/cuse.c), one connection a device. The kernel's own
// retries reach the caller's memory: an answer names ranges, and the same ioctl comes again with what stands there.
// For guests that exist to be tested: whoever asks stat(2) sees the device of a kernel.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { CUSE_INIT_IN, cuseInit, ioctlEnd, ioctlRetry, type Place } from './cuse-wire.ts'
import { Errno } from './errno.ts'
import { FOPEN_DIRECT_IO, HANDLE_IN, IOCTL_IN, negative, OPEN_OUT } from './fuse-wire.ts'
import type { Gate } from './gate.ts'
import { type Range, runAgainst } from './memory.ts'
import type { Device } from './model.ts'
import type { Operations, Reply } from './operations.ts'

/** Names ranges to read and to write, and waits for the message that brings what stands in the former. */
type Ask = (read: readonly Place[], write: readonly Place[]) => Promise<Buffer>

/** One ioctl(2), which may take several messages. */
interface Conversation {
    readonly fh: bigint
    next(input: Buffer, signal: AbortSignal): Promise<Reply>
    abandon(): void
}

/** What a device answers: it is opened, asked by ioctl(2) and closed; it has no bytes to read or to write. */
export function cuseOperations(name: string, device: Device, gate: Gate): Partial<Operations> {
    /** By the thread that waits: it is in one ioctl at a time. */
    const running = new Map<number, Conversation>()
    let lastHandle = 0n

    return {
        cuseInit({ body }) {
            const { major, minor } = CUSE_INIT_IN.parse(body.subarray(0, CUSE_INIT_IN.size))
            return cuseInit(major, Math.min(minor, MINOR), name)
        },
        open: () => [OPEN_OUT.encode({ fh: ++lastHandle, openFlags: FOPEN_DIRECT_IO })],
        flush: () => [],
        fsync: () => [],
        release({ body }) {
            const { fh } = HANDLE_IN.parse(body.subarray(0, HANDLE_IN.size))
            for (const [pid, conversation] of running)
                if (conversation.fh === fh) {
                    conversation.abandon()
                    running.delete(pid)
                }
            return []
        },
        ioctl({ body, caller: { pid, signal } }) {
            const { fh, cmd, arg, inSize, outSize } = IOCTL_IN.parse(body.subarray(0, IOCTL_IN.size))
            const input = Buffer.from(body.subarray(IOCTL_IN.size, IOCTL_IN.size + inSize))
            const before = running.get(pid)
            // A message without ranges begins a call, whatever became of this thread's last one.
            if (before && inSize + outSize > 0) return before.next(input, signal)
            before?.abandon()
            const conversation = converse(fh, (ask, killed) => answer(device, gate, cmd, arg, ask, killed))
            running.set(pid, conversation)
            return conversation.next(input, signal)
        },
    }
}

/** The protocol's minor version, as fuse-wire.ts has it. */
const MINOR = 31

async function answer(
    device: Device,
    gate: Gate,
    request: number,
    argument: bigint,
    ask: Ask,
    killed: AbortSignal,
): Promise<Reply> {
    const memory = {
        fetch: (address: bigint, length: number) => ask([{ address, length }], []),
        store: () => Promise.reject(new TypeError('what is written goes with the end of the call')),
    }
    let written: readonly Range[] = []
    const { answer } = await gate.pass(device.requests[request] ?? null, killed, async (call) => {
        const run = await runAgainst(memory, [], (mem) => device.ioctl({ ...call, request, argument }, mem))
        written = run.writes
        return run.answer
    })
    const places = written.map(({ address, bytes }) => ({ address, length: bytes.length }))
    if (places.length > 0) await ask([], places)
    // What was written reaches the caller also if the call fails.
    return ioctlEnd(answer.errno ? negative(constants.errno[answer.errno]) : 0, written)
}

function converse(fh: bigint, work: (ask: Ask, killed: AbortSignal) => Promise<Reply>): Conversation {
    const kill = new AbortController()
    let reply: PromiseWithResolvers<Reply>
    let heard: PromiseWithResolvers<Buffer> | undefined

    const ask: Ask = (read, write) => {
        heard = Promise.withResolvers()
        reply.resolve(ioctlRetry(read, write))
        return heard.promise
    }
    return {
        fh,
        next(input, signal) {
            signal.addEventListener('abort', () => kill.abort())
            reply = Promise.withResolvers()
            if (heard) heard.resolve(input)
            else
                work(ask, kill.signal).then(
                    (last) => reply.resolve(last),
                    (error: unknown) => reply.reject(error),
                )
            return reply.promise
        },
        abandon: () => heard?.reject(new Errno('EINTR')),
    }
}
