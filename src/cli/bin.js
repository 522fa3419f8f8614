#!/bin/sh
':' //; own=$(dirname "$(readlink -f "$0")")/../../node_modules/.bin/node; [ -x "$own" ] || own=node; exec "$own" "$0" "$@"

// Starts the program from its sources. The shell reads the line above, and becomes the Node that `npm ci` brought (or
// another one): no process stands between, so that every signal arrives. To JavaScript that line is a text and a comment.
// Plain JavaScript on purpose: an old runtime must be able to read it and say what is missing. The name it is called by
// picks the program: `guest-attest`, or one of the clevis programs.
// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path'

const PROGRAMS = {
    'clevis-encrypt-kbs': './clevis/encrypt.ts',
    'clevis-decrypt-kbs': './clevis/decrypt.ts',
    'clevis-encrypt-sev': './clevis/encrypt-sev.ts',
    'clevis-decrypt-sev': './clevis/decrypt-sev.ts',
}

if (process.features.typescript) await import(PROGRAMS[basename(process.argv[1] ?? '')] ?? './main.ts')
else {
    console.error(
        `guest-attest: Node ${process.versions.node} is too old: run \`npm ci\` first (it brings Node 26), or use Node 24.12 or newer`,
    )
    process.exit(1)
}
