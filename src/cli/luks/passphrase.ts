// A passphrase or key that opens a volume already: from a file, from standard input, or typed where nobody sees it. It is
// never a word of the command line, and never a string.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, openSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'

export const KEY_FILE_OPTION = {
    'key-file': {
        type: 'string',
        describe: 'what opens the volume already: a file, taken whole, or - for standard input; asked for unless told',
    },
} as const

/** cryptsetup takes no more from a prompt; a key file may be as large. */
const MAX_TYPED = 512
const MAX_FILE = 512 * 1024

/** The caller wipes it. @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE, ERR_INTERRUPTED */
export async function readExisting(keyFile: string | undefined, device: string): Promise<Secret> {
    if (keyFile === undefined) return typed(`Passphrase of ${device}: `)
    const bytes = secret(readInput(keyFile, MAX_FILE))
    if (bytes.length > 0) return bytes
    throw coreError('ERR_USAGE', `--key-file: nothing is in ${keyFile === '-' ? 'standard input' : keyFile}`)
}

const ENTER = [0x0a, 0x0d]
const INTERRUPT = [0x03, 0x04]
const RUBOUT = [0x08, 0x7f]

/** What of a terminal is used here. */
export type Terminal = Pick<ReadStream, 'setRawMode' | 'destroy'> & AsyncIterable<Buffer>

/** One line, with nothing of it shown; what the terminal gave is wiped. @throws AttestError ERR_USAGE, ERR_INTERRUPTED */
export async function typed(question: string, terminal: Terminal = openTerminal()): Promise<Secret> {
    const out = Buffer.alloc(MAX_TYPED)
    let length = 0
    try {
        terminal.setRawMode(true)
        process.stderr.write(question)
        for await (const chunk of terminal) {
            try {
                for (const byte of chunk) {
                    if (INTERRUPT.includes(byte)) throw coreError('ERR_INTERRUPTED', 'no passphrase was typed')
                    if (ENTER.includes(byte)) return secret(Buffer.from(out.subarray(0, length)))
                    if (RUBOUT.includes(byte)) length = Math.max(0, length - 1)
                    else if (length < MAX_TYPED) out[length++] = byte
                }
            } finally {
                wipe(chunk)
            }
        }
        throw coreError('ERR_INTERRUPTED', 'no passphrase was typed')
    } finally {
        wipe(out)
        terminal.setRawMode(false)
        terminal.destroy()
        process.stderr.write('\n')
    }
}

function openTerminal(): ReadStream {
    let fd: number | undefined
    try {
        fd = openSync('/dev/tty', 'r+')
        return new ReadStream(fd)
    } catch {
        if (fd !== undefined) closeSync(fd)
        throw coreError('ERR_USAGE', 'there is no terminal to ask for a passphrase at: expected --key-file', {
            hint: '--key-file - reads it from standard input',
        })
    }
}
