// Denials of this boot: kept for one broker and one path, for whoever asks next, and never in the way of anything else.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import { temporaryFolder } from '#test/folder.ts'
import { bootDenials } from '#unlock/denials.ts'

const SERVER = 'https://kbs.example:8443'
const PATH = 'default/luks/a'
const DENIED = { code: 'ERR_UNLOCK_DENIED_EARLIER' }

const folderOf = (t: Parameters<typeof temporaryFolder>[0]): string => join(temporaryFolder(t), 'run', 'denied')

test('what was denied is denied again, with the reason and what to do', (t) => {
    const folder = folderOf(t)
    bootDenials(folder).remember(SERVER, PATH, 'the measurement is another')
    const error = t.throws<AttestError>(() => bootDenials(folder).refuseIfDenied(SERVER, PATH), {
        ...DENIED,
        message: 'denied earlier in this boot: the measurement is another',
    })
    const [file = ''] = readdirSync(folder)
    t.true(error?.hint?.includes(join(folder, file)))
    t.regex(error?.hint ?? '', /asked again in (?:29|30) s/)
    rmSync(join(folder, file))
    t.notThrows(() => bootDenials(folder).refuseIfDenied(SERVER, PATH))
})

for (const { name, server = SERVER, path = PATH } of [
    { name: 'another path', path: 'default/luks/b' },
    { name: 'another broker', server: 'https://kbs2.example:8443' },
    { name: 'another port', server: 'https://kbs.example' },
    { name: 'the same letters, cut elsewhere', server: `${SERVER}d`, path: PATH.slice(1) },
])
    test(`not denied: ${name}`, (t) => {
        const denials = bootDenials(folderOf(t))
        denials.remember(SERVER, PATH, 'no')
        t.notThrows(() => denials.refuseIfDenied(server, path))
        t.throws(() => denials.refuseIfDenied(SERVER, PATH), DENIED)
    })

test('the later reason counts, and a long one is cut', (t) => {
    const denials = bootDenials(folderOf(t))
    denials.remember(SERVER, PATH, 'first')
    denials.remember(SERVER, PATH, 'x'.repeat(5000))
    t.throws(() => denials.refuseIfDenied(SERVER, PATH), { ...DENIED, message: /: x{1000}$/ })
})

test('a denial without a reason is one', (t) => {
    const denials = bootDenials(folderOf(t))
    denials.remember(SERVER, PATH, '')
    t.throws(() => denials.refuseIfDenied(SERVER, PATH), DENIED)
})

test('nobody else reads them, and their names do not say what was asked for', (t) => {
    const folder = folderOf(t)
    bootDenials(folder).remember(SERVER, '../../../etc/x', 'no')
    const [file = '', ...more] = readdirSync(folder)
    t.deepEqual(more, [])
    t.regex(file, /^[0-9a-f]{32}$/)
    t.is(statSync(folder).mode & 0o777, 0o700)
    t.is(statSync(join(folder, file)).mode & 0o777, 0o600)
    t.like(JSON.parse(readFileSync(join(folder, file), 'utf8')), { times: 1, reason: 'no' })
})

test('the delay grows with each denial, to an hour, and nothing is in the way when it is over', (t) => {
    let now = 0
    const denials = bootDenials(folderOf(t), () => now)
    const delays = Array.from({ length: 9 }, () => {
        denials.remember(SERVER, PATH, 'no')
        const wait = denials.waitMs(SERVER, PATH)
        t.throws(() => denials.refuseIfDenied(SERVER, PATH), DENIED)
        now += wait
        t.notThrows(() => denials.refuseIfDenied(SERVER, PATH))
        return wait / 1000
    })
    t.deepEqual(delays, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600])
})

for (const content of ['', 'no', '{"times":0}', '{"times":1,"until":"x","reason":""}'])
    test(`a file that is no denial is none: ${JSON.stringify(content)}`, (t) => {
        const folder = folderOf(t)
        const denials = bootDenials(folder)
        denials.remember(SERVER, PATH, 'no')
        writeFileSync(join(folder, readdirSync(folder)[0] ?? ''), content)
        t.notThrows(() => denials.refuseIfDenied(SERVER, PATH))
    })

for (const { name, spoil } of [
    { name: 'a file in the place of the folder', spoil: (folder: string) => writeFileSync(folder, '') },
    {
        name: 'a folder in the place of the file',
        spoil(folder: string) {
            bootDenials(folder).remember(SERVER, PATH, 'no')
            const [file = ''] = readdirSync(folder)
            rmSync(join(folder, file))
            mkdirSync(join(folder, file))
        },
    },
    { name: 'a file in the place of the folder above', spoil: (folder: string) => replaceByFile(join(folder, '..')) },
])
    test(`where nothing can be remembered the broker is asked again: ${name}`, (t) => {
        const folder = folderOf(t)
        mkdirSync(join(folder, '..'))
        spoil(folder)
        const denials = bootDenials(folder)
        t.notThrows(() => denials.remember(SERVER, PATH, 'no'))
        t.notThrows(() => denials.refuseIfDenied(SERVER, PATH))
    })

function replaceByFile(folder: string): void {
    rmSync(folder, { recursive: true })
    writeFileSync(folder, '')
}
