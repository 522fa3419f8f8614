// A device as a file whose only use is ioctl(2). Under FUSE it is a regular file: stat(2) says so.
// SPDX-License-Identifier: Apache-2.0

import type { Gate } from './gate.ts'
import { type CallerMemory, type Range, runAgainst } from './memory.ts'
import type { Device } from './model.ts'
import type { File } from './tree.ts'

/** @param memoryOf the memory of a calling thread */
export function deviceFile(device: Device, gate: Gate, memoryOf: (threadId: number) => CallerMemory): File {
    return {
        mode: device.mode,
        size: 0,
        open: () => ({
            async ioctl({ command, argument, input, outputSize }, { pid, signal }) {
                const memory = memoryOf(pid)
                const known = input.length > 0 ? [{ address: argument, bytes: input }] : []
                let written: readonly Range[] = []
                const { answer } = await gate.pass(device.requests[command] ?? null, signal, async (call) => {
                    const run = await runAgainst(memory, known, (mem) =>
                        device.ioctl({ ...call, request: command, argument }, mem),
                    )
                    written = run.writes
                    return run.answer
                })
                const output = Buffer.alloc(outputSize)
                input.copy(output)
                for (const range of written) {
                    const at = Number(range.address - argument)
                    if (at >= 0 && at + range.bytes.length <= outputSize) output.set(range.bytes, at)
                    else await memory.store(range)
                }
                return { errno: answer.errno, output }
            },
        }),
    }
}
