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

test('a name in a header cannot draw on the terminal', async (t) => {
    const { stdout } = await check(imageOf(t, forge({ set: { 'segments.0.encryption': '\u001b[2J\u202eaes' } })))
    t.false(stdout.includes('\u001b'))
    t.false(stdout.includes('\u202e'))
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
    { name: 'no device', args: [], want: 2, says: /not enough non-option arguments/ },
    { name: 'a UUID that is none', args: ['/dev/null', '--uuid', '1234'], want: 2, says: /--uuid: not a UUID: 1234/ },
    { name: 'a path where nothing is', args: ['/nonexistent/disk'], want: 2, says: /no such device or file/ },
    { name: 'a folder', args: ['/'], want: 2, says: /neither a block device nor a file/ },
    { name: 'what cannot be read', args: ['/etc/passwd/disk'], want: 3, says: /ENOTDIR/ },
])
    test(`exit ${want}: ${name}`, async (t) => {
        const { code, stdout, stderr } = await check(...args)
        t.is(code, want)
        t.is(stdout, '')
        t.regex(stderr, says)
    })
