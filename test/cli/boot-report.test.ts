// `boot-report`: what the initrd wrote, as a person and a program read it.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { BOOT_REPORT, bootStatus, SECRETS_SUBJECT } from '#unlock/status.ts'
import { guestAttest } from './run.ts'

test('a boot that opened its volumes, and one that did not', async (t) => {
    const folder = temporaryFolder(t)
    const file = join(folder, BOOT_REPORT)
    const root = bootStatus('root', folder, [])
    root.say('asking', 'asking https://kbs for default/luks/root')
    const during = await guestAttest(['boot-report', '--file', file])
    t.is(during.code, 1)
    t.regex(during.stdout, /^\d+\.\d{3} s\s+root\s+asking https:\/\/kbs for default\/luks\/root\nnot every volume/)
    root.say('open', 'the key of root has been handed over')
    const after = await guestAttest(['boot-report', '--file', file, '--json'])
    t.is(after.code, 0)
    const { open, events } = JSON.parse(after.stdout)
    t.true(open)
    t.deepEqual(
        events.map(({ state }: { state: string }) => state),
        ['asking', 'open'],
    )
})

for (const { name, state, code, wiped } of [
    { name: 'wiped', state: 'wiped', code: 0, wiped: true },
    { name: 'left for a later volume', state: 'waiting', code: 0, wiped: true },
    { name: 'that could not be wiped', state: 'failed', code: 1, wiped: false },
] as const)
    test(`an injected secret: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        bootStatus('root', folder, []).say('open', 'the passphrase of root has been handed over')
        bootStatus(SECRETS_SUBJECT, folder, []).say(state, 'a secret')
        const args = ['boot-report', '--file', join(folder, BOOT_REPORT)]
        const person = await guestAttest(args)
        t.is(person.code, code)
        t.regex(person.stdout, /every volume that was asked for is open\n/)
        t.is(person.stdout.includes('not every injected secret could be wiped'), !wiped)
        const program = JSON.parse((await guestAttest([...args, '--json'])).stdout)
        t.deepEqual([program.open, program.wiped], [true, wiped])
    })

for (const { name, content, says } of [
    { name: 'none', content: null, says: /no such file.*\n.*hint: no volume of the table/s },
    { name: 'an empty one', content: '', says: /is empty/ },
    { name: 'one that is none', content: 'hello\n', says: /boot.jsonl:1: / },
    { name: 'one of another kind', content: '{"subject":"root"}\n', says: /boot.jsonl:1: uptimeMs/ },
])
    test(`no report: ${name}`, async (t) => {
        const file = join(temporaryFolder(t), BOOT_REPORT)
        if (content !== null) writeFileSync(file, content)
        const { code, stdout, stderr } = await guestAttest(['boot-report', '--file', file])
        t.not(code, 0)
        t.is(stdout, '')
        t.regex(stderr, says)
    })
