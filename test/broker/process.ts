// A broker as a process of its own, that trusts the minted vendor.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Vendor } from '#test/plugins/snp/minted.ts'

export const PROGRAM = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))

export interface BrokerProcess {
    readonly child: ChildProcess
    readonly url: string
    /** Everything that it wrote to standard error. */
    readonly log: string[]
    /** Ends it and waits; the exit code, or the signal. */
    end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>
}

export interface StartOptions {
    /** The parent of the broker's folder `data`. */
    readonly folder: string
    readonly vendor: Vendor
    readonly nodeArguments?: readonly string[]
    readonly arguments?: readonly string[]
    /** Content of `config.toml`. */
    readonly config?: string
}

/** Starts `broker serve` and waits until it serves. */
export async function startBroker({ folder, vendor, config = '', ...options }: StartOptions): Promise<BrokerProcess> {
    const settings = join(folder, 'etc')
    const collateral = join(folder, 'collateral')
    for (const path of [settings, collateral]) mkdirSync(path, { recursive: true })
    writeFileSync(join(settings, 'config.toml'), config)
    writeFileSync(join(folder, 'root.der'), vendor.certificates.ark)
    writeFileSync(join(collateral, 'list.crl'), vendor.list)
    const given = ['--data', join(folder, 'data'), '--listen', '127.0.0.1:0', '--trust-root', join(folder, 'root.der')]
    const child = spawn(
        process.execPath,
        [
            ...(options.nodeArguments ?? []),
            PROGRAM,
            'broker',
            'serve',
            ...given,
            '--collateral',
            collateral,
            ...(options.arguments ?? []),
        ],
        { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, GUEST_ATTEST_CONFIG: settings } },
    )
    const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
    const log: string[] = []
    const url = await new Promise<string>((resolve, reject) => {
        createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
            log.push(line)
            const found = /serving (https?:\/\/[^;\s]+)/.exec(line)?.[1]
            if (found) resolve(found)
        })
        void exited.then(() => reject(new Error(`the broker ended: ${log.join('\n')}`)))
    })
    return {
        child,
        url,
        log,
        async end(signal) {
            child.kill(signal)
            const [code, by] = await exited
            return by ?? code ?? 0
        },
    }
}

/** Runs one command of the program to its end. */
export async function run(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [PROGRAM, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
    const out = { stdout: '', stderr: '' }
    child.stdout.on('data', (chunk: Buffer) => (out.stdout += chunk))
    child.stderr.on('data', (chunk: Buffer) => (out.stderr += chunk))
    const [code] = (await once(child, 'close')) as [number]
    return { code, ...out }
}
