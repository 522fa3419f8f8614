// The real programs: cryptsetup, which makes the good images and says what it thinks of the forged ones, and clevis.
// Neither needs root or device-mapper for what is asked of them here.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { temporaryFolder } from '#test/folder.ts'

export const PASSPHRASE = 'correct horse'

/** PBKDF2 at its cheapest, as clevis binds. */
export const CHEAP = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000']

/** A key-slot area that is small and quickly wiped; the data begins at 1 MiB. */
export const SMALL = ['--luks2-keyslots-size', '512k', '--offset', '2048']

/** A file of these bytes, and zeros up to its size. */
export function imageOf(t: ExecutionContext, bytes: Uint8Array, size = bytes.length): string {
    const path = join(temporaryFolder(t), 'image')
    writeFileSync(path, bytes)
    truncateSync(path, size)
    return path
}

/** Runs a program with the passphrase as its standard input. */
export function run(program: string, args: readonly string[]) {
    // An ordinary user's PATH has no /sbin.
    const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` }
    return spawnSync(program, args, { input: PASSPHRASE, encoding: 'utf8', env })
}

/** Runs it, and throws what it says where it fails. */
export function must(program: string, ...args: string[]): string {
    const { status, stdout, stderr } = run(program, args)
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${status}\n${stdout}${stderr}`)
    return stdout
}

/** A fresh image, as `cryptsetup luksFormat` makes it. */
export function format(t: ExecutionContext, args: readonly string[], size = 4 * 1024 * 1024): string {
    const path = imageOf(t, Buffer.alloc(0), size)
    must('cryptsetup', 'luksFormat', '--batch-mode', '--key-file', '-', ...args, path)
    return path
}
