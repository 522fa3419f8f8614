// Standard input to its end, and standard output to the last byte, with plain system calls: what is cut short must never
// pass for whole.
// SPDX-License-Identifier: Apache-2.0

import { readSync, writeSync } from 'node:fs'
import { wipe } from './bytes.ts'
import { coreError, errnoOf, messageOf } from './errors.ts'

const CHUNK = 64 * 1024

/** Everything that comes. @throws AttestError ERR_LENGTH, ERR_FILE */
export function readStdin(maxBytes: number): Buffer {
    const chunks: Buffer[] = []
    try {
        for (let total = 0; ; ) {
            const chunk = Buffer.alloc(CHUNK)
            const got = patiently(() => readSync(0, chunk), 'standard input')
            if (got === 0) return Buffer.concat(chunks)
            chunks.push(chunk.subarray(0, got))
            total += got
            if (total > maxBytes) throw coreError('ERR_LENGTH', `standard input: more than ${maxBytes} bytes`)
        }
    } finally {
        wipe(...chunks)
    }
}

/** Every byte. @throws AttestError ERR_FILE, as with a full disk or a reader that has gone */
export function writeStdout(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) done += patiently(() => writeSync(1, bytes, done), 'standard output')
}

// A pipe that another process made non-blocking answers EAGAIN where it would have to wait.
function patiently(call: () => number, what: string): number {
    for (;;) {
        try {
            return call()
        } catch (cause) {
            const errno = errnoOf(cause)
            if (errno === 'EOF') return 0
            if (errno !== 'EAGAIN' && errno !== 'EINTR')
                throw coreError('ERR_FILE', `${what}: ${messageOf(cause)}`, { cause })
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
        }
    }
}
