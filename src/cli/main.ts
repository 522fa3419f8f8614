// The program: parses its words, runs one command, and exits as that says.
// SPDX-License-Identifier: Apache-2.0

import yargs from 'yargs'
import { AttestError, coreError } from '#core/errors.ts'
import packageJson from '#package.json' with { type: 'json' }
import { addCommands, type Call } from './command.ts'
import { COMMANDS } from './commands.ts'
import { complain, hint, PROGRAM } from './term.ts'

// What yargs prints (help, completion) ends with its reader; every other result goes through term.ts.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
})

// Not awaited: the executable is a bundle in the older module format, which cannot at its top.
void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code
})

async function main(argv: string[]): Promise<number> {
    const call: Call = { name: '', words: '', exit: 0 }
    const program = yargs(argv)
        .scriptName(PROGRAM)
        .usage('$0 COMMAND …\n\nProves what a confidential VM is, judges such proofs, and releases and uses keys.')
        .version(packageJson.version)
        .alias('help', 'h')
        .strict()
        // Words are words: behind -- they are somebody else's, and 007 is no 7.
        .parserConfiguration({ 'populate--': true, 'greedy-arrays': false, 'parse-positional-numbers': false })
        .demandCommand(1, 'a command is missing')
        .wrap(Math.min(120, process.stdout.columns ?? 100))
        .exitProcess(false)
        .fail((message, error) => {
            throw error ?? usageError(message, call)
        })
        .recommendCommands()
    addCommands(program, COMMANDS, '', call)
    try {
        // yargs takes words behind `--` for the command that it demands.
        if (argv[0] === '--') throw coreError('ERR_USAGE', 'a command is missing')
        await program.parseAsync()
        return call.exit
    } catch (thrown) {
        // What yargs throws by itself is about the command line, too.
        const error = thrown instanceof Error && thrown.name === 'YError' ? usageError(thrown.message, call) : thrown
        const code = complain(error)
        if (code === 2 && !(error instanceof AttestError && error.hint))
            hint(`${[PROGRAM, call.name].filter(Boolean).join(' ')} --help`)
        return code
    }
}

// What yargs says, in the manners of term.ts.
function usageError(message: string, { name, words }: Call): AttestError {
    if (/^not enough non-option/i.test(message)) return coreError('ERR_USAGE', `${name}: expected ${words}`)
    const text = `${message.charAt(0).toLowerCase()}${message.slice(1)}`
    return coreError('ERR_USAGE', text.replaceAll(/:\s*\n\s*/g, ': '))
}
