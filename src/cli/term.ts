// The manners of the terminal, in one place:
//   - standard output carries the result alone, so that it can be piped; everything else goes to standard error;
//   - a message is `guest-attest: text`: lower case, no full stop; what to do about it follows on a `hint:` line;
//   - --json wherever something is printed; no colours and no progress where nobody watches (not a tty, NO_COLOR, --json);
//   - control characters of foreign text never reach the terminal;
//   - exit 0 yes, 1 no, 2 usage, 3 cannot decide now.
// SPDX-License-Identifier: Apache-2.0

import { styleText } from 'node:util'
import { AttestError, errnoOf, messageOf } from '#core/errors.ts'
import { stringifyJson } from '#core/json.ts'
import { writeStdout } from '#core/stdio.ts'

export const PROGRAM = 'guest-attest'

/**
 * The result as it is, or a part of it. A reader that has seen enough (`| head`) changes nothing of the verdict.
 * @throws AttestError ERR_FILE: a full disk must not pass for an answer
 */
export function printBytes(result: Uint8Array | string): void {
    try {
        writeStdout(typeof result === 'string' ? Buffer.from(result) : result)
    } catch (error) {
        if (!(error instanceof AttestError) || errnoOf(error.cause) !== 'EPIPE') throw error
    }
}

/** A line of the result. */
export const print = (line = ''): void => printBytes(`${clean(line)}\n`)

/** The result as JSON; indented for a person's eyes. */
export const printJson = (value: unknown): void =>
    printBytes(
        `${process.stdout.isTTY ? JSON.stringify(JSON.parse(stringifyJson(value)), null, 2) : stringifyJson(value)}\n`,
    )

/** Something that is not the result: what is being done, what should be known. */
export const note = (text: string): void => void process.stderr.write(`${PROGRAM}: ${clean(text)}\n`)

export const hint = (text: string): void => void process.stderr.write(`  hint: ${clean(text)}\n`)

/** Says what went wrong and returns how the program exits. */
export function complain(error: unknown): 1 | 2 | 3 {
    if (!(error instanceof AttestError)) {
        // Ours to mend: the stack is what a person can report.
        note(`internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
        return 3
    }
    note(`${messageOf(error)} (${error.code})`)
    if (error.hint) hint(error.hint)
    return error.exit
}

/** Lines of aligned columns; the last column is not padded. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string[] {
    const widths: number[] = []
    for (const row of rows)
        for (const [i, cell] of row.entries()) if (i < row.length - 1) widths[i] = Math.max(widths[i] ?? 0, cell.length)
    return rows.map((row) => `${indent}${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd())
}

type Style = Parameters<typeof styleText>[0]

/** Text in a style, where a person watches standard output. */
export const styled = (style: Style, text: string): string =>
    process.stdout.isTTY && !process.env['NO_COLOR'] ? styleText(style, text) : text

/** A line of progress that the next one overwrites; nothing where nobody watches. */
export function progress(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${clean(text)}`)
}

/** Ends the line of progress. */
export function progressDone(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
}

// Our own styles stay; every other control character, and what turns the direction of writing, could forge a line.
const clean = (text: string): string =>
    text.replaceAll(/\p{Cc}|\p{Bidi_Control}/gu, (character, at: number) =>
        character === '\n' || character === '\t' || OWN_STYLE.test(text.slice(at, at + 5)) ? character : '\ufffd',
    )

const OWN_STYLE = new RegExp(`^${String.fromCodePoint(0x1b)}\\[\\d{1,2}m`)
