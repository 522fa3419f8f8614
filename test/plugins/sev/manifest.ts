// The rows of vectors/sev/manifest.tsv: what other programs answered, and to what.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { VECTORS } from '../../machine.ts'

export const FOLDER = join(VECTORS, 'sev')

export interface Row {
    readonly tool: string
    readonly command: string
    readonly output: string
    readonly note: string
    /** Where it stands in the file. */
    readonly line: number
}

export const MANIFEST: readonly Row[] = read()

/** The `key=value` words of an output, by their keys; empty where there is none. */
export function valuesOf(output: string): (key: string) => string {
    const words = output.split(' ').filter((word) => word.includes('='))
    const values = new Map(words.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]))
    return (key) => values.get(key) ?? ''
}

/** The words of a command line, with quotes. */
export const wordsOf = (command: string): string[] =>
    [...command.matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
        ([, single, double, plain]) => single ?? double ?? plain ?? '',
    )

/** What stands behind an option, each time. */
export const valuesAfter = (words: readonly string[], option: string): string[] =>
    words.flatMap((word, at) => (words[at - 1] === option ? [word] : []))

export const fixture = (path: string): Buffer => readFileSync(join(FOLDER, path))

function read(): Row[] {
    const path = join(FOLDER, 'manifest.tsv')
    if (!existsSync(path)) return []
    return readFileSync(path, 'utf8')
        .split('\n')
        .map((text, at) => ({ cells: text.split('\t'), line: at + 1 }))
        .filter(({ cells, line }) => line > 1 && cells.length > 3)
        .map(({ cells: [tool = '', command = '', , output = '', note = ''], line }) => ({
            tool,
            command,
            output,
            note,
            line,
        }))
}
