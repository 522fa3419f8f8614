// Go programs out of Debian's packages (install.sh beside this file), built without a module being fetched.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Need } from '../machine.ts'

const GO = '/usr/lib/go-1.24/bin/go'
const GOPATH = '/usr/share/gocode'

export interface GoProgram {
    /** Where its sources are: `github.com/google/go-sev-guest/tools/attest`. */
    readonly source: string
    /** Debian's package of its sources. */
    readonly debian: string
}

export const goProgram = ({ source, debian }: GoProgram): Need => ({
    what: `golang-1.24-go and ${debian} of Debian 13 (test/peers/install.sh)`,
    met: existsSync(GO) && existsSync(join(GOPATH, 'src', source)),
})

/** @param source a package, or a file that imports one */
export function buildGo(source: string, out: string): void {
    const env = {
        ...process.env,
        GO111MODULE: 'off',
        GOPATH,
        GOFLAGS: '',
        GOCACHE: process.env['GOCACHE'] ?? join(tmpdir(), 'guest-attest-go-cache'),
    }
    const built = spawnSync(GO, ['build', '-o', out, source], { env, encoding: 'utf8', timeout: 170_000 })
    if (built.status !== 0) throw new Error(`${source} does not build: ${built.stderr}`)
}
