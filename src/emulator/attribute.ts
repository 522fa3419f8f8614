// A binary attribute of sysfs, which a model reads and writes: the value of each read(2) is the one of its time, and
// write(2) says what became of it. Linux fs/sysfs/file.c.
// SPDX-License-Identifier: Apache-2.0

import { Errno } from './errno.ts'
import type { Gate } from './gate.ts'
import type { Answer, AttributeFile } from './model.ts'
import type { File } from './tree.ts'

export function attributeFile(attribute: AttributeFile, gate: Gate): File {
    const { mode, size, requests = {} } = attribute
    const { read, write } = attribute
    return {
        mode,
        size,
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
