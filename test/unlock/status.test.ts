// What is told while a disk opens: once for each change, also by processes that come and go, and never without an end.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { BOOT_REPORT, bootStatus } from '#unlock/status.ts'

test('each change is one line, and what was just said is not said again', (t) => {
    const folder = join(temporaryFolder(t), 'run')
    const lines: string[] = []
    const status = () => bootStatus('root', folder, [(level, line) => lines.push(`${level} ${line}`)])
    status().say('asking', 'asking a')
    status().say('asking', 'asking a') // another process
    status().say('waiting', 'a: no answer\n\u001b[2Jforged')
    status().say('asking', 'asking a')
    status().say('open', 'open')
    status().say('asking', 'asking a')
    t.deepEqual(lines, [
        'info guest-attest: root: asking a',
        'info guest-attest: root: a: no answer [2Jforged',
        'info guest-attest: root: open',
        'info guest-attest: root: asking a',
    ])
    const events = readFileSync(join(folder, BOOT_REPORT), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line))
    t.deepEqual(
        events.map(({ subject, state, text }) => [subject, state, text]),
        [
            ['root', 'asking', 'asking a'],
            ['root', 'waiting', 'a: no answer [2Jforged'],
            ['root', 'open', 'open'],
            ['root', 'asking', 'asking a'],
        ],
    )
    t.true(events.every(({ uptimeMs }) => Number.isSafeInteger(uptimeMs)))
    t.is(statSync(folder).mode & 0o077, 0)
})

test('another subject has lines of its own, whatever its name', (t) => {
    const folder = temporaryFolder(t)
    const lines: string[] = []
    for (const subject of ['root', '../../etc/x', 'default/luks/a'])
        bootStatus(subject, folder, [(_level, line) => lines.push(line)]).say('open', 'x')
    t.is(lines.length, 3)
    t.false(existsSync(join(folder, '../../etc/x')))
})

test('the report has an end', (t) => {
    const folder = temporaryFolder(t)
    bootStatus('root', folder, []).say('asking', 'x')
    const report = join(folder, BOOT_REPORT)
    writeFileSync(report, Buffer.alloc(1024 * 1024 + 1))
    bootStatus('root', folder, []).say('asking', 'y')
    t.is(statSync(report).size, 1024 * 1024 + 1)
})

test('where nothing can be written it is said all the same', (t) => {
    const folder = temporaryFolder(t)
    rmSync(folder, { recursive: true })
    writeFileSync(folder, '')
    const lines: string[] = []
    bootStatus('root', folder, [(_level, line) => lines.push(line)]).say('failed', 'x')
    t.deepEqual(lines, ['guest-attest: root: x'])
    rmSync(folder)
})
