// Many commands in one emulated guest: this program runs inside it and tells how each has ended. A guest takes a second
// to start, a command a third of one.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { argv, execPath, stdout } from 'node:process'
import { fileURLToPath } from 'node:url'
import { FUSE, type Need, programs, ROOT } from '../machine.ts'
import { guestAttest, type Ran } from './run.ts'

/** The words of one command; with null instead of a variable's value, it has not that variable. */
export interface Inside {
    readonly args: readonly string[]
    readonly env?: Readonly<Record<string, string | null>>
}

/** What an emulated guest needs of the machine. */
export const GUEST_NEEDS: readonly Need[] = [FUSE, ROOT, programs('unshare', 'setpriv')]

/** The variable that lets a device be a file; `emulate` sets it. */
export const EMULATED_DEVICE = 'GUEST_ATTEST_INSECURE_EMULATED_DEVICE'

/** As long as a test may take: the machine may be busy. */
const TIMEOUT_MS = 170_000

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

/** A folder of configuration without a pause between two requests to the device. */
export function hurriedConfig(folder: string): string {
    const config = join(folder, 'etc')
    mkdirSync(config)
    writeFileSync(join(config, 'config.toml'), '[drivers]\nspacingMs = 0\n', { mode: 0o644 })
    return config
}

/** Runs these one after the other in one guest that `emulate OPTIONS…` makes. */
export async function inGuest(options: readonly string[], config: string, commands: readonly Inside[]): Promise<Ran[]> {
    const words = ['emulate', '--tee', 'snp', ...options, '--', ...insideCommand(commands)]
    return readInside(await guestAttest(words, { env: { GUEST_ATTEST_CONFIG: config }, timeoutMs: TIMEOUT_MS }))
}

/** The same for a table of cases, when the first of them is asked for. */
export function inOneGuest<C extends Inside>(options: readonly string[], config: string, cases: readonly C[]) {
    let all: Promise<Ran[]> | undefined
    return async (wanted: C): Promise<Ran> => {
        all ??= inGuest(options, config, cases)
        const ran = (await all)[cases.indexOf(wanted)]
        if (!ran) throw new TypeError('no case of this table')
        return ran
    }
}

if (import.meta.main) {
    const all: Ran[] = []
    for (const { args, env = {} } of JSON.parse(argv[2] ?? '[]') as Inside[]) {
        const variables = Object.entries(env).map(([name, value]) => [name, value ?? undefined] as const)
        all.push(await guestAttest(args, { env: Object.fromEntries(variables) }))
    }
    stdout.write(JSON.stringify(all))
}
