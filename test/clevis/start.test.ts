// The start of the programs that clevis calls: what they owe before they read a passphrase.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'

for (const name of ['encrypt', 'decrypt'])
    test(`no core file of clevis-${name}-kbs from the first secret on, nor one for a program that collects them`, async (t) => {
        const path = fileURLToPath(new URL(`../../src/cli/clevis/${name}.ts`, import.meta.url))
        const child = spawn(
            'sh',
            ['-c', `ulimit -S -c "$(ulimit -H -c)"; exec "$@"`, 'sh', process.execPath, path, '{}'],
            {
                stdio: ['pipe', 'ignore', 'ignore'],
            },
        )
        const ended = once(child, 'exit')
        const limit = () =>
            /^Max core file size +(\S+) +(\S+)/m.exec(readFileSync(`/proc/${child.pid}/limits`, 'latin1'))
        // It waits for its standard input until this test is done with it.
        while (limit()?.[1] !== '1') await sleep(20)
        t.is(limit()?.[2], '1')
        child.stdin.end()
        await ended
    })
