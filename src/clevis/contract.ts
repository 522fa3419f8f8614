// How clevis calls a pin, whatever the pin does: one JSON argument to encrypt, none to decrypt, data on standard input and
// output, every word on standard error, exit 0 or not. Standard input that is a terminal asks for the usage.
// SPDX-License-Identifier: Apache-2.0

import { isatty } from 'node:tty'
import { wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { readStdin, writeStdout } from '#core/stdio.ts'

export interface PinProgram {
    readonly name: string
    readonly usage: string
    /** One line for clevis' list of commands, or null: then the program hides itself there, as decrypting ones do. */
    readonly summary: string | null
    /** Bytes of standard input that are accepted. */
    readonly maxInput: number
    /** Before standard input is read: from then on there are secrets in memory. */
    begin(): void
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
        program.begin()
        input = readStdin(program.maxInput)
        output = await program.run(argv, input)
        writeStdout(output)
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
