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
import { CONTROLS, escapeControls } from '#core/text.ts'

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

type Style = Parameters<typeof styleText>[0]

/** Text in a style, for `print`: a style that stands in foreign text is none. */
export interface Styled {
    readonly style: Style
    readonly text: string
}

export const styled = (style: Style, text: string): Styled => ({ style, text })

/** A line of the result, of such parts. */
export const print = (...parts: readonly (string | Styled)[]): void =>
    printBytes(`${parts.map((part) => (typeof part === 'string' ? clean(part) : inStyle(part))).join('')}\n`)

// Where a person watches standard output.
const inStyle = ({ style, text }: Styled): string =>
    process.stdout.isTTY && !process.env['NO_COLOR'] ? styleText(style, clean(text)) : clean(text)

/** The result as JSON; indented for a person's eyes. */
export const printJson = (value: unknown): void =>
    printBytes(
        (process.stdout.isTTY ? JSON.stringify(JSON.parse(stringifyJson(value)), null, 2) : stringifyJson(value))
            .split('\n')
            .map((line) => `${escapeControls(line)}\n`)
            .join(''),
    )

/** Something that is not the result: what is being done, what should be known. */
export const note = (text: string): void => void process.stderr.write(`${PROGRAM}: ${clean(text)}\n`)

export const hint = (text: string): void => void process.stderr.write(`  hint: ${clean(text)}\n`)

/** Says what went wrong and returns how the program exits. */
export function complain(error: unknown): 1 | 2 | 3 {
    if (!(error instanceof AttestError)) {
        // Ours to mend: the stack is what a person can report.
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
        for (const line of `internal error: ${text}`.split('\n')) note(line)
        return 3
    }
    note(`${messageOf(error)} (${error.code})`)
    if (error.hint) hint(error.hint)
    return error.exit
}

/** How the result of a check is shown. */
export const MARKS = { pass: 'ok', fail: 'FAIL', skipped: '-' } as const

/** Lines of aligned columns; the last column is not padded. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string[] {
    const widths: number[] = []
    for (const row of rows)
        for (const [i, cell] of row.entries()) if (i < row.length - 1) widths[i] = Math.max(widths[i] ?? 0, cell.length)
    return rows.map((row) => `${indent}${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd())
}

/** A line of progress that the next one overwrites; nothing where nobody watches. */
export function progress(text: string): void {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${clean(text)}`)
}

/** Ends the line of progress. */
export function progressDone(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
}

const clean = (text: string): string => text.replaceAll(CONTROLS, '\ufffd')
