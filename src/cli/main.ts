// The program: parses its words, runs one command, and exits as that says.
// SPDX-License-Identifier: Apache-2.0

import yargs from 'yargs'
import { AttestError, coreError } from '#core/errors.ts'
import packageJson from '#package.json' with { type: 'json' }
import { addCommands } from './command.ts'
import { COMMANDS } from './commands.ts'
import { complain, hint, PROGRAM } from './term.ts'

// A reader that has seen enough (`| head`) changes nothing of the verdict.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
})

process.exitCode = await main(process.argv.slice(2))

async function main(argv: string[]): Promise<number> {
    let exit = 0
    const program = yargs(argv)
        .scriptName(PROGRAM)
        .usage('$0 COMMAND …\n\nProves what a confidential VM is, judges such proofs, and releases and uses keys.')
        .version(packageJson.version)
        .alias('help', 'h')
        .strict()
        .parserConfiguration({ 'populate--': true, 'greedy-arrays': false })
        .demandCommand(1, 'a command is missing')
        .completion('completion', 'print a completion script for bash or zsh')
        .wrap(Math.min(120, process.stdout.columns ?? 100))
        .exitProcess(false)
        .fail((message, error) => {
            throw error ?? coreError('ERR_USAGE', message)
        })
    addCommands(program, COMMANDS, '', (code) => {
        exit = code
    })
    try {
        await program.parseAsync()
        return exit
    } catch (error) {
        const code = complain(error)
        if (code === 2 && !(error instanceof AttestError && error.hint))
            hint(`${[PROGRAM, ...commandWords(argv)].join(' ')} --help`)
        return code
    }
}

// The command that was called, as far as one can tell from its words.
function commandWords(argv: string[]): string[] {
    const end = argv.findIndex((word) => !COMMANDS.some(({ signature }) => signature.split(' ')[0] === word))
    return argv.slice(0, end < 0 ? argv.length : end)
}
