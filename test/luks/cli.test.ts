// `luks check` as a person and as a program use it: exit status, output, and what goes where.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { LuksJudgement } from '#luks/check.ts'
import { guestAttest } from '#test/cli/run.ts'
import { imageOf } from './cryptsetup.ts'
import { forge, UUID } from './forge.ts'

const check = (...args: string[]) => guestAttest(['luks', 'check', ...args])

test('a header that passes: every check, the verdict, what the host can still do; exit 0', async (t) => {
    const path = imageOf(t, forge())
    const { code, stdout, stderr } = await check(path, '--uuid', UUID.toUpperCase())
    t.is(code, 0)
    t.is(stderr, '')
    const lines = stdout.split('\n')
    t.regex(lines[0] ?? '', /^ {2}ok {2}primary-header {4}16384 bytes, sha256 holds$/)
    t.true(lines.includes(`PASS: ${path} may be opened; its data is NOT authenticated`))
    t.true(lines.includes('  - put back an older state of each sector, or of the whole disk'))
})

test('a forged one: the check and its code, no word of what it would be; exit 1', async (t) => {
    const path = imageOf(t, forge({ set: { 'segments.0.encryption': 'cipher_null-ecb' } }))
    const { code, stdout } = await check(path)
    t.is(code, 1)
    t.regex(stdout, /^ {2}FAIL {2}cipher .*"cipher_null-ecb" encrypts nothing \(ERR_LUKS_NULL_CIPHER\)$/m)
    t.regex(stdout, new RegExp(`^FAIL: do not open ${RegExp.escape(path)}$`, 'm'))
    t.notRegex(stdout, /the host can still/)
})

test('what can be done about it goes to standard error', async (t) => {
    const path = imageOf(t, forge({ secondary: { header: { seqid: 6n } } }))
    const { code, stdout, stderr } = await check(path)
    t.is(code, 1)
    t.regex(stdout, /copies .*the primary header says 7, the secondary 6 \(ERR_LUKS_COPIES\)/)
    t.regex(stderr, /^ {2}hint: .*`cryptsetup repair`/)
})

for (const { name, text } of [
    { name: 'an escape sequence, and the other direction of writing', text: '\u001b[2J\u202eaes' },
    { name: 'a style of our own', text: '\u001b[32mPASS\u001b[39m' },
    { name: 'a second line', text: 'x\n  ok  primary-header' },
    { name: 'an escape of eight bits', text: '\u009b2K' },
])
    for (const form of [[], ['--json']])
        test(`what a header says cannot draw on the terminal: ${[name, ...form].join(' ')}`, async (t) => {
            const path = imageOf(t, forge({ set: { 'segments.0.encryption': text } }))
            const { stdout } = await check(path, ...form)
            const lines = Buffer.from(stdout, 'latin1').toString().split('\n')
            const plain = await check(imageOf(t, forge({ set: { 'segments.0.encryption': 'x' } })), ...form)
            t.is(lines.length, plain.stdout.split('\n').length)
            t.notRegex(lines.join(''), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
            if (form.length > 0) t.true(JSON.stringify(JSON.parse(lines.join(''))).length > 100)
        })

test('--json: the whole judgement, 64-bit numbers as they are', async (t) => {
    const path = imageOf(t, forge())
    const { code, stdout } = await check(path, '--json')
    t.is(code, 0)
    const { device, header, verdict, checks, volume } = JSON.parse(stdout) as LuksJudgement & Record<string, unknown>
    t.like({ device, header, verdict }, { device: path, header: null, verdict: 'pass' })
    t.deepEqual(checks.find(({ name }) => name === 'uuid')?.result, 'skipped')
    t.like(volume, { uuid: UUID, dataOffset: 1048576, dataSize: null, authenticated: false } as never)
})

test('--header: a detached header, whose data begins where it likes', async (t) => {
    const header = imageOf(t, forge({ set: { 'segments.0.offset': '0' } }))
    const device = imageOf(t, Buffer.alloc(4096))
    t.is((await check(device, '--header', header)).code, 0)
    t.is((await check(header)).code, 1)
    t.is((await check('/nonexistent/disk', '--header', header)).code, 2)
})

for (const { name, args, want, says } of [
    { name: 'no device', args: [], want: 2, says: /luks check: expected <device>/ },
    { name: 'a UUID that is none', args: ['/dev/null', '--uuid', '1234'], want: 2, says: /--uuid: not a UUID: 1234/ },
    { name: 'a path where nothing is', args: ['/nonexistent/disk'], want: 2, says: /no such file or folder/ },
    { name: 'a folder', args: ['/'], want: 2, says: /neither a block device nor a file/ },
    {
        name: 'a path through a file',
        args: ['/etc/passwd/disk'],
        want: 2,
        says: /a file stands where a folder was expected/,
    },
])
    test(`exit ${want}: ${name}`, async (t) => {
        const { code, stdout, stderr } = await check(...args)
        t.is(code, want)
        t.is(stdout, '')
        t.regex(stderr, says)
    })
