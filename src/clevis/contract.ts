// How clevis calls a pin, whatever the pin does: one JSON argument to encrypt, none to decrypt, data on standard input and
// output, every word on standard error, exit 0 or not. Standard input that is a terminal asks for the usage.
// SPDX-License-Identifier: Apache-2.0

import { readSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { wipe } from '#core/bytes.ts'
import { AttestError, errnoOf, messageOf } from '#core/errors.ts'
import { clevisError } from './errors.ts'

export interface PinProgram {
    readonly name: string
    readonly usage: string
    /** One line for clevis' list of commands, or null: then the program hides itself there, as decrypting ones do. */
    readonly summary: string | null
    /** Bytes of standard input that are accepted. */
    readonly maxInput: number
    /** From the arguments and standard input to standard output. Its result is wiped. */
    run(argv: readonly string[], input: Buffer): Promise<Uint8Array>
    readonly complain: (message: string) => void
}

/** Runs a pin program to its exit status. */
export async function runPin(program: PinProgram, argv: readonly string[]): Promise<number> {
    if (argv[0] === '--summary') {
        if (program.summary === null) return 2
        process.stdout.write(`${program.summary}\n`)
        return 0
    }
    if (argv[0] === '--help' || argv[0] === '-h' || isatty(0)) {
        process.stderr.write(`${program.usage}\n`)
        return 2
    }
    let input: Buffer | undefined
    let output: Uint8Array | undefined
    try {
        input = readAll(program.maxInput)
        output = await program.run(argv, input)
        writeAll(output)
        return 0
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        program.complain(`${messageOf(error)} (${error.code})`)
        if (error.hint) program.complain(`hint: ${error.hint}`)
        return 1
    } finally {
        wipe(input, output)
    }
}

const CHUNK = 64 * 1024

function readAll(maxBytes: number): Buffer {
    const chunks: Buffer[] = []
    for (let total = 0; ; ) {
        const chunk = Buffer.alloc(CHUNK)
        const got = patiently(() => readSync(0, chunk), 'standard input')
        if (got === 0) {
            const all = Buffer.concat(chunks)
            wipe(...chunks)
            return all
        }
        total += got
        if (total > maxBytes) throw clevisError('ERR_CLEVIS_CONFIG', `more than ${maxBytes} bytes on standard input`)
        chunks.push(chunk.subarray(0, got))
    }
}

// A result that is cut short would be taken for a whole one: every byte is written, or the exit status says no.
function writeAll(bytes: Uint8Array): void {
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
                throw clevisError('ERR_CLEVIS_OUTPUT', `${what}: ${messageOf(cause)}`, { cause })
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2)
        }
    }
}
