// A binary attribute of sysfs, which a model reads and writes: the value of each read(2) is the one of its time, and
// write(2) says what became of it. Linux fs/sysfs/file.c. In a folder of its own it can be one that unlink(2) removes.
// SPDX-License-Identifier: Apache-2.0

import { Errno } from './errno.ts'
import type { Gate } from './gate.ts'
import type { Answer, AttributeFile } from './model.ts'
import type { Caller, File } from './tree.ts'

export function attributeFile(attribute: AttributeFile, gate: Gate): File {
    const { mode, size, requests = {} } = attribute
    const { read, write, unlink } = attribute
    return {
        mode,
        size,
        ...(unlink && {
            async unlink({ signal }: Caller) {
                const run = gate.pass(requests.unlink ?? null, signal, async (call) => unlink.call(attribute, call))
                succeeded((await run).answer)
            },
        }),
        open: () => ({
            ...(read && {
                async read(offset, length, { signal }) {
                    const run = gate.pass(requests.read ?? null, signal, async (call) => read.call(attribute, call))
                    const { bytes } = succeeded((await run).answer)
                    return bytes.subarray(offset, offset + length)
                },
            }),
            ...(write && {
                async write(offset, bytes, { signal }) {
                    const copy = Buffer.from(bytes)
                    const run = gate.pass(requests.write ?? null, signal, async (call) =>
                        write.call(attribute, { ...call, offset, bytes: copy }),
                    )
                    succeeded((await run).answer)
                },
            }),
        }),
    }
}

function succeeded<A extends Answer>(answer: A): A {
    if (answer.errno) throw new Errno(answer.errno)
    return answer
}
