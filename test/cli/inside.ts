// Many commands in one emulated guest: this program runs inside it and tells how each has ended. A guest takes a second
// to start, a command a third of one.
// SPDX-License-Identifier: Apache-2.0

import { argv, execPath, stdout } from 'node:process'
import { fileURLToPath } from 'node:url'
import { guestAttest, type Ran } from './run.ts'

/** The words of one command; with null instead of a variable's value, it has not that variable. */
export interface Inside {
    readonly args: readonly string[]
    readonly env?: Readonly<Record<string, string | null>>
}

/** The command line that runs these one after the other and prints how each has ended. */
export const insideCommand = (commands: readonly Inside[]): string[] => [
    execPath,
    fileURLToPath(import.meta.url),
    JSON.stringify(commands),
]

/** What that printed. */
export function readInside(ran: Ran): Ran[] {
    if (ran.code !== 0) throw new Error(`the guest exits with ${ran.code}: ${ran.stderr}`)
    return JSON.parse(Buffer.from(ran.stdout, 'latin1').toString()) as Ran[]
}

if (import.meta.main) {
    const all: Ran[] = []
    for (const { args, env = {} } of JSON.parse(argv[2] ?? '[]') as Inside[]) {
        const variables = Object.entries(env).map(([name, value]) => [name, value ?? undefined] as const)
        all.push(await guestAttest(args, { env: Object.fromEntries(variables) }))
    }
    stdout.write(JSON.stringify(all))
}
