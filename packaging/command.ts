// A program of the build's machine, run with nothing of the builder's surroundings: none of it shall be found in what is
// built.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { ROOT } from './bundle.ts'

/** Its standard output. @throws Error where it fails, with what it said */
export function must(
    program: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    cwd = ROOT,
): string {
    const { status, stdout, stderr, error } = spawnSync(program, args, {
        cwd,
        env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC', ...env },
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
    })
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `${stdout}${stderr}`}`)
    return stdout
}
