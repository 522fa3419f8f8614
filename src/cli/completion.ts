// `completion`: what teaches a shell the words of this program.
// SPDX-License-Identifier: Apache-2.0

import yargs from 'yargs'
import { coreError } from '#core/errors.ts'
import { command as define } from './command.ts'
import { PROGRAM } from './term.ts'

const SHELLS = ['bash', 'zsh'] as const

export const command = define({
    positionals: { shell: `${SHELLS.join(' or ')}; that of SHELL unless told` },
    options: {},
    examples: [
        ['bash > /etc/bash_completion.d/guest-attest', 'for everybody who uses bash'],
        ['zsh > ~/.zfunc/_guest-attest', 'in a folder of fpath'],
    ],
    async run({ shell }) {
        if (shell !== undefined) {
            if (!SHELLS.some((name) => name === shell))
                throw coreError('ERR_USAGE', `${JSON.stringify(shell)}: expected ${SHELLS.join(' or ')}`)
            // The library looks there, and only there, when a parser is made.
            process.env['SHELL'] = String(shell)
            delete process.env['ZSH_NAME']
        }
        yargs().scriptName(PROGRAM).completion().showCompletionScript()
        return 0
    },
})
