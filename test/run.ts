// `npm test`: the whole suite, then what was skipped and why, then `N passed, N failed`. Arguments go to ava.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

const ava = createRequire(import.meta.url).resolve('../node_modules/ava/entrypoints/cli.js')
const child = spawn(process.execPath, [ava, '--tap', ...process.argv.slice(2)], {
    stdio: ['ignore', 'pipe', 'inherit'],
})
const ended = once(child, 'exit') as Promise<[number | null]>
const skipped = new Map<string, string[]>()
let passed = 0
let failed = 0
let inFailure = false

for await (const line of createInterface({ input: child.stdout })) {
    const [, not, title, skip] = /^(not )?ok \d+ - (.*?)( # (?:SKIP|TODO))?$/.exec(line) ?? []
    if (title === undefined) {
        if (inFailure) console.log(line) // the details of a failure follow it
        continue
    }
    inFailure = not !== undefined && skip === undefined
    if (skip) note(title)
    else if (not) failed++
    else passed++
    if (inFailure) console.log(`FAILED: ${title}`)
    else if (process.stdout.isTTY) process.stdout.write(`\r\x1b[2K${passed} passed, ${failed} failed`)
}
const [code] = await ended

if (process.stdout.isTTY) process.stdout.write('\r\x1b[2K')
for (const [why, titles] of skipped) {
    console.log(`skipped, needs ${why}:`)
    for (const title of titles) console.log(`  ${title}`)
}
// A suite that ends early, or a file that does not load, is a failure even if every test that ran has passed.
if (code !== 0 && failed === 0) {
    failed = 1
    const [named] = process.argv.slice(2)
    console.log(
        passed > 0
            ? 'FAILED: a file did not load, or the suite ended early'
            : `FAILED: no test ran${named ? `: is there a ${named}?` : ''}`,
    )
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

function note(title: string): void {
    const [, what = title, why = 'nothing that it says'] = /^(.*) \[needs (.*)\]$/.exec(title) ?? []
    skipped.set(why, [...(skipped.get(why) ?? []), what])
}
