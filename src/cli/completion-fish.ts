// fish's completion script, from the tables of commands: fish asks no program for its words, so that nothing is started
// while somebody types.
// SPDX-License-Identifier: Apache-2.0

import type { Options } from 'yargs'
import type { CommandRow } from './command.ts'
import { PROGRAM } from './term.ts'

// Words that are no options; `exact` where nothing may follow them.
const FUNCTIONS = `function __guest_attest_words
    string match --invert -- '-*' (commandline --tokens-expanded --current-process --cut-at-cursor 2>/dev/null
        or commandline -opc)[2..]
end

function __guest_attest_exact
    test "$(__guest_attest_words)" = "$argv"
end

function __guest_attest_in
    set -l words (__guest_attest_words)
    set -l n (count $argv)
    test (count $words) -ge $n; and test "$words[1..$n]" = "$argv"
end
`

/** The script. */
export async function fishCompletion(rows: readonly CommandRow[]): Promise<string> {
    const lines = await Promise.all(rows.map((row) => commandLines(row, [])))
    return `# fish completion for ${PROGRAM}\n\n${FUNCTIONS}\n${lines.flat().join('\n')}\n`
}

async function commandLines(row: CommandRow, above: readonly string[]): Promise<string[]> {
    const [name = ''] = row.signature.split(' ')
    const words = [...above, name]
    const lines = [complete('__guest_attest_exact', above, ['--no-files', '--arguments', quote(name)], row.describe)]
    const loaded = await row.load()
    if ('group' in loaded)
        return [...lines, ...(await Promise.all(loaded.group.map((inner) => commandLines(inner, words)))).flat()]
    for (const [option, spec] of Object.entries(loaded.command.options as Record<string, Options>))
        if (!spec.hidden)
            lines.push(
                complete(
                    '__guest_attest_in',
                    words,
                    ['--long-option', option, ...argumentOf(spec)],
                    String(spec.describe ?? ''),
                ),
            )
    return lines
}

function argumentOf({ type, choices }: Options): string[] {
    if (choices) return ['--exclusive', '--arguments', quote(choices.join(' '))]
    return type === 'boolean' ? [] : ['--require-parameter']
}

const complete = (test: string, words: readonly string[], what: readonly string[], describe: string): string =>
    [
        `complete --command ${PROGRAM} --condition ${quote([test, ...words].join(' '))}`,
        ...what,
        `--description ${quote(describe)}`,
    ].join(' ')

const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
