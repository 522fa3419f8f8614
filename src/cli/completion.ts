// `completion`: what teaches a shell the words of this program.
// SPDX-License-Identifier: Apache-2.0

import yargs from 'yargs'
import { coreError } from '#core/errors.ts'
import { type CommandRow, command as define } from './command.ts'
import { fishCompletion } from './completion-fish.ts'
import { PROGRAM, printBytes } from './term.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

/** The command, for the table that it stands in. */
export const completionCommand = (rows: readonly CommandRow[]) =>
    define({
        positionals: { shell: `${SHELLS.join(', ')}; that of SHELL unless told` },
        options: {},
        examples: [
            ['bash > /etc/bash_completion.d/guest-attest', 'for everybody who uses bash'],
            ['zsh > ~/.zfunc/_guest-attest', 'in a folder of fpath'],
            ['fish > ~/.config/fish/completions/guest-attest.fish', 'for fish'],
        ],
        async run({ shell }) {
            if (shell !== undefined && !SHELLS.some((name) => name === shell))
                throw coreError('ERR_USAGE', `${JSON.stringify(shell)}: expected one of ${SHELLS.join(', ')}`)
            const wanted = String(shell ?? process.env['SHELL'])
            if (/\bfish$/.test(wanted)) printBytes(await fishCompletion(rows))
            else {
                // The library looks there, and only there, when a parser is made.
                process.env['SHELL'] = wanted
                if (shell !== undefined) delete process.env['ZSH_NAME']
                yargs().scriptName(PROGRAM).completion().showCompletionScript()
            }
            return 0
        },
    })
