// Completion scripts, as the program prints them; named as each shell looks for them.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { must } from './command.ts'

/** What a shell's script is called in its folder of completions. */
export const COMPLETIONS = { bash: 'guest-attest', zsh: '_guest-attest', fish: 'guest-attest.fish' } as const

/** Asks a program for them. */
export function writeCompletions(folder: string, program: string): void {
    mkdirSync(folder, { recursive: true })
    for (const [shell, name] of Object.entries(COMPLETIONS))
        writeFileSync(join(folder, name), must(program, ['completion', shell]))
}
