// Starts a program of the tests: `node test/start.js test/demo/main.ts …`. Plain JavaScript on purpose: before `npm ci` an old
// Node runs it, which must be able to read it and say what is missing.
// SPDX-License-Identifier: Apache-2.0
import { pathToFileURL } from 'node:url'

process.argv.splice(1, 1) // this file: the program finds its words where it expects them
const program = process.argv[1] ?? ''

if (process.features.typescript) await import(pathToFileURL(program).href)
else {
    console.error(`Node ${process.versions.node} is too old: run \`npm ci\` first, it brings Node 26`)
    process.exit(1)
}
