// Programs of the host that make images and disks: run to their end, with what they said where they fail.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** @returns standard output and standard error */
export function sh(command: readonly string[], options: { env?: NodeJS.ProcessEnv; input?: string } = {}) {
    const [file = '', ...words] = command
    return new Promise<string>((resolve, reject) => {
        const child = spawn(file, words, {
            stdio: ['pipe', 'pipe', 'pipe'],
            env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin`, ...options.env },
        })
        let out = ''
        for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk))
        child.once('error', reject)
        child.once('close', (code) => {
            if (code === 0) resolve(out)
            else reject(new Error(`${command.join(' ').slice(0, 300)} exits with ${code}:\n${out.slice(-3000)}`))
        })
        child.stdin.on('error', () => undefined)
        child.stdin.end(options.input ?? '')
    })
}

/** Where images are kept between runs. */
export const CACHE = process.env['GUEST_ATTEST_BOOT_CACHE'] || join(homedir(), '.cache', 'guest-attest-boot')

/** The hash of strings, and of files by their content. */
export function hashOf(words: readonly string[], files: readonly string[] = []): string {
    const hash = createHash('sha256')
    for (const word of words) hash.update(`${word}\0`)
    for (const file of files) hash.update(readFileSync(file))
    return hash.digest('hex').slice(0, 16)
}

/** Every file below a folder. */
export function filesBelow(folder: string): string[] {
    return readdirSync(folder)
        .toSorted()
        .flatMap((name) => {
            const path = join(folder, name)
            return statSync(path).isDirectory() ? filesBelow(path) : [path]
        })
}

/**
 * A file or folder of the cache, made if it is not there; older ones of its kind go.
 * @param make is given a path of its own, which gets its name when it is whole
 */
export function cached(kind: string, hash: string, make: (path: string) => Promise<void>): Promise<string> {
    const path = join(CACHE, `${kind}-${hash}`)
    const made = making.get(path) ?? makeOnce(path, kind, make)
    making.set(path, made)
    return made
}

/** Another run may still read what was made so long ago. */
const IN_USE_MS = 3600_000

const making = new Map<string, Promise<string>>()

async function makeOnce(path: string, kind: string, make: (path: string) => Promise<void>): Promise<string> {
    if (existsSync(path)) return path
    mkdirSync(CACHE, { recursive: true })
    const old = new RegExp(`^${kind}-[0-9a-f]{16}(?:\\.part)?$`)
    for (const name of readdirSync(CACHE))
        if (old.test(name) && statSync(join(CACHE, name)).ctimeMs < Date.now() - IN_USE_MS)
            rmSync(join(CACHE, name), { recursive: true, force: true })
    const started = performance.now()
    await make(`${path}.part`)
    renameSync(`${path}.part`, path)
    console.log(`  made ${kind} in ${((performance.now() - started) / 1000).toFixed(0)} s`)
    return path
}
