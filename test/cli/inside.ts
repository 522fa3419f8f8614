// Many commands in one emulated guest: this program runs inside it and tells how each has ended. A guest takes a second
// to start, a command a third of one.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { argv, execPath, stdout } from 'node:process'
import { fileURLToPath } from 'node:url'
import { type AnchorFile, formatAnchor } from '#unlock/anchors.ts'
import { FUSE, type Need, programs } from '../machine.ts'
import { guestAttest, type Ran } from './run.ts'

/** The words of one command; with null instead of a variable's value, it has not that variable. */
export interface Inside {
    readonly args: readonly string[]
    readonly env?: Readonly<Record<string, string | null>>
}

/** What an emulated guest needs of the machine. */
export const GUEST_NEEDS: readonly Need[] = [FUSE, programs('unshare', 'setpriv')]

/** The variable that lets a device be a file; `emulate` sets it. */
export const EMULATED_DEVICE = 'GUEST_ATTEST_INSECURE_EMULATED_DEVICE'

/** Without it; and without a configuration, which in an ordinary user's guest belongs to nobody that is trusted then. */
export const UNTOLD = { [EMULATED_DEVICE]: null, GUEST_ATTEST_CONFIG: '/nowhere/at-all' }

/** As long as a test may take: the machine may be busy. */
export const GUEST_TIMEOUT_MS = 170_000

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

/** A folder of configuration: no pause between two requests to the device, and trust in these brokers. */
export function hurriedConfig(folder: string, anchors: readonly AnchorFile[] = []): string {
    const config = mkdtempSync(join(folder, 'etc-'))
    mkdirSync(join(config, 'trust.d'), { mode: 0o755 })
    writeFileSync(join(config, 'config.toml'), '[drivers]\nspacingMs = 0\n', { mode: 0o644 })
    for (const [i, anchor] of anchors.entries())
        writeFileSync(join(config, `trust.d/${i}.toml`), formatAnchor(anchor), { mode: 0o644 })
    return config
}

/** Runs a command line in a guest; gives how that has ended. */
export type GuestRunner = (command: readonly string[]) => Promise<Ran>

/** In the guest that `emulate OPTIONS…` makes, with this folder of configuration. */
export const emulatedGuest =
    (options: readonly string[], config: string, env: Readonly<Record<string, string>> = {}): GuestRunner =>
    (command) =>
        guestAttest(['emulate', '--tee', 'snp', ...options, '--', ...command], {
            env: { ...env, GUEST_ATTEST_CONFIG: config },
            timeoutMs: GUEST_TIMEOUT_MS,
        })

/** Runs a table of cases in one guest, when the first of them is asked for. */
export function inOneGuest<C extends Inside>(guest: GuestRunner, cases: readonly C[]) {
    let all: Promise<Ran[]> | undefined
    return async (wanted: C): Promise<Ran> => {
        all ??= guest(insideCommand(cases)).then(readInside)
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
