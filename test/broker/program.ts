// The program with the commands of the broker alone, as a process of its own: `node test/broker/program.ts broker …`.
// SPDX-License-Identifier: Apache-2.0

import yargs from 'yargs'
import { addCommands } from '#cli/command.ts'
import { complain } from '#cli/term.ts'

const program = yargs(process.argv.slice(2)).strict().exitProcess(false)
program.fail((message, error) => {
    throw error ?? new Error(message)
})
addCommands(
    program,
    [{ signature: 'broker', describe: 'a key broker of one’s own', load: () => import('#cli/broker.ts') }],
    '',
    (code) => {
        process.exitCode = code
    },
)
try {
    await program.parseAsync()
} catch (error) {
    process.exitCode = complain(error)
}
