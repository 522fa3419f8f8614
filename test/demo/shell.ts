// How the demo shows its commands: as a person would type them, what is real and what is emulated, what they print, how
// long they take; and whether each ends as it should.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { styleText } from 'node:util'

/** Where a command runs. */
export type Place = 'owner' | 'host' | 'guest'

export interface Outcome {
    readonly code: number | null
    readonly output: string
}

export interface Step {
    readonly place: Place
    /** As a person types it. */
    readonly command: string
    /** 0 unless told; a refusal has another. */
    readonly code?: number
    /** What the output must say. */
    readonly says?: RegExp
    /** Lines of the output that are shown; 6 unless told. */
    readonly show?: number | RegExp
    readonly quiet?: boolean
}

export const PROMPTS: Readonly<Record<Place, string>> = { owner: '$', host: 'host#', guest: 'guest#' }

export interface Shell {
    title(text: string): void
    note(text: string): void
    /** Runs a step, prints it, and keeps it if it does not go as it should. */
    run(step: Step): Promise<Outcome>
}

export interface Surroundings {
    readonly env: NodeJS.ProcessEnv
    readonly cwd: string
    /** Commands that did not go as they should. */
    readonly failures: string[]
}

/** `inGuest` makes the real command line of one that runs in the emulated guest. */
export function openShell({ env, cwd, failures }: Surroundings, inGuest: (command: string) => string[]): Shell {
    return {
        title: (text) => console.log(`\n${bold(text)}`),
        note: (text) => console.log(dim(`  ${text}`)),
        async run({ place, command, code = 0, says, show = 6, quiet = false }) {
            if (!quiet) console.log(`${PROMPTS[place]} ${command}`)
            const started = performance.now()
            const argv = place === 'guest' ? inGuest(command) : ['sh', '-c', command]
            const outcome = await execute(argv, env, cwd)
            const seconds = ((performance.now() - started) / 1000).toFixed(1)
            if (!quiet) for (const line of pick(outcome.output, show)) console.log(`    ${line}`)
            const right = outcome.code === code && (says?.test(outcome.output) ?? true)
            if (!right) {
                failures.push(command)
                console.log(
                    red(`  WRONG: expected exit ${code}${says ? ` and ${says}` : ''}, got exit ${outcome.code}`),
                )
                for (const line of outcome.output.trimEnd().split('\n')) console.log(`    ${line}`)
            } else if (!quiet)
                console.log(dim(code === 0 ? `  ok, ${seconds} s` : `  refused, as it must be, ${seconds} s`))
            return outcome
        },
    }
}

function execute(argv: readonly string[], env: NodeJS.ProcessEnv, cwd: string): Promise<Outcome> {
    return new Promise((resolve, reject) => {
        const [program = '', ...args] = argv
        const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 })
        const chunks: Buffer[] = []
        child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
        child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
        child.on('error', reject)
        // What the shell had started may outlive it, and hold its output open.
        child.on('exit', () => {
            if (child.killed) for (const stream of [child.stdout, child.stderr]) stream.destroy()
        })
        child.on('close', (code) => resolve({ code, output: Buffer.concat(chunks).toString() }))
    })
}

// The emulator says at each start that it proves nothing; once is enough here.
const NOISE = /is emulated(?: here)?: what it says proves nothing/

function pick(output: string, show: number | RegExp): string[] {
    const lines = output
        .trimEnd()
        .split('\n')
        .filter((line) => line && !NOISE.test(line))
    if (typeof show !== 'number') return lines.filter((line) => show.test(line))
    return lines.length > show ? [...lines.slice(0, show - 1), '…'] : lines
}

const style =
    (name: Parameters<typeof styleText>[0]) =>
    (text: string): string =>
        process.stdout.isTTY ? styleText(name, text) : text
const [bold, dim, red] = [style('bold'), style('dim'), style('red')]
