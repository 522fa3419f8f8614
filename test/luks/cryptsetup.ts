// The real programs: cryptsetup, which makes the good images and says what it thinks of the forged ones, and clevis.
// Neither needs root or device-mapper for what is asked of them here.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import test, { type ExecutionContext, type Implementation } from 'ava'

const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin']

export const PASSPHRASE = 'correct horse'

/** The path of a program, or null where it is not installed. */
export function programPath(name: string): string | null {
    return FOLDERS.map((folder) => join(folder, name)).find(isExecutable) ?? null
}

/** A test that runs where a program is installed, and is skipped by name where it is not. */
export function needs(program: string, title: string, run: Implementation<[]>): void {
    if (programPath(program)) test(title, run)
    else test.skip(`${title} (not run: ${program} is not installed)`, run)
}

/** A folder that goes when the test ends. */
export function temporaryFolder(t: Pick<ExecutionContext, 'teardown'>): string {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-luks-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    return folder
}

/** Runs a program; its standard input is the passphrase. */
export function run(program: string, args: readonly string[], input = PASSPHRASE) {
    const { status, stdout, stderr } = spawnSync(programPath(program) ?? program, args, { input, encoding: 'utf8' })
    return { status, stdout, stderr }
}

/** Runs it and throws what it says where it fails. */
export function must(program: string, ...args: string[]): string {
    const { status, stdout, stderr } = run(program, args)
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`)
    return stdout
}

/** PBKDF2 at its cheapest, as clevis binds. */
export const CHEAP = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000']

/** A key-slot area that is small and quickly wiped; the data begins at 1 MiB. */
export const SMALL = ['--luks2-keyslots-size', '512k', '--offset', '2048']

/** A fresh image, as `cryptsetup luksFormat` makes it. */
export function format(t: ExecutionContext, args: readonly string[], size = 4 * 1024 * 1024): string {
    const path = join(temporaryFolder(t), 'image')
    writeFileSync(path, '')
    truncateSync(path, size)
    must('cryptsetup', 'luksFormat', '--batch-mode', '--key-file', '-', ...args, path)
    return path
}

function isExecutable(path: string): boolean {
    try {
        accessSync(path, constants.X_OK)
        return true
    } catch {
        return false
    }
}
