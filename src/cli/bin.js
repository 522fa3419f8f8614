#!/usr/bin/env node
// Starts the program from its sources. Plain JavaScript on purpose: an old runtime must be able to read it and say what
// is missing. The name it is called by picks the program: `guest-attest`, or one of the clevis programs.
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { constants } from 'node:os'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

const PROGRAMS = {
    'clevis-encrypt-kbs': './clevis-encrypt-kbs.ts',
    'clevis-decrypt-kbs': './clevis-decrypt-kbs.ts',
}
const program = PROGRAMS[basename(process.argv[1] ?? '')] ?? './main.ts'
const own = fileURLToPath(new URL('../../node_modules/.bin/node', import.meta.url))

if (process.features.typescript) await import(program)
else if (existsSync(own) && realpathSync(own) !== realpathSync(process.execPath)) {
    const child = spawnSync(own, process.argv.slice(1), { stdio: 'inherit' })
    process.exit(child.status ?? 128 + (constants.signals[child.signal] ?? 0))
} else {
    console.error(
        `guest-attest: Node ${process.versions.node} is too old: run \`npm ci\` first (it brings Node 26), or use Node 24.12 or newer`,
    )
    process.exit(1)
}
