// Runs the program as a person does, and gathers what it printed.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Ran {
    readonly code: number | null
    readonly stdout: string
    readonly stderr: string
}

export interface RunOptions {
    readonly env?: Readonly<Record<string, string | undefined>>
    readonly input?: string | Uint8Array
    readonly timeoutMs?: number
    readonly cwd?: string
}

export const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

/** `guest-attest ARGS…` on this Node. */
export const guestAttest = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
    run(process.execPath, [MAIN, ...args], options)

/** Any program to its end, or to its timeout: then its code is null. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const { env = {}, input, timeoutMs = 60_000, cwd } = options
    return new Promise((resolve, reject) => {
        const child = spawn(program, args, {
            env: { ...process.env, ...env },
            stdio: ['pipe', 'pipe', 'pipe'],
            timeout: timeoutMs,
            killSignal: 'SIGKILL',
            ...(cwd === undefined ? {} : { cwd }),
        })
        const out: Buffer[] = []
        const err: Buffer[] = []
        child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
        child.stderr.on('data', (chunk: Buffer) => err.push(chunk))
        child.stdin.on('error', () => undefined) // a program that does not read is its own affair
        child.on('error', reject)
        child.on('close', (code) =>
            resolve({
                code,
                stdout: Buffer.concat(out).toString('latin1'),
                stderr: Buffer.concat(err).toString('utf8'),
            }),
        )
        child.stdin.end(input ?? '')
    })
}
