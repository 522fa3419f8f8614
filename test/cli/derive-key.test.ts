// `derive-key`: what is refused before the firmware is asked, and which keys of an emulated guest are the same.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { emulatedGuest, GUEST_NEEDS, hurriedConfig, type Inside, inOneGuest, UNTOLD } from './inside.ts'
import { guestAttest } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })
const config = hurriedConfig(folder)
const GUEST = ['--trust-dir', join(folder, 'vendor'), '--generation', 'milan']

const file = (name: string): string => join(folder, name)

writeFileSync(file('there'), 'mine')

const INSECURE = '--insecure-selector'

for (const { name, args, says } of [
    { name: 'no label', args: ['--out', file('x')], says: /missing required argument: label/ },
    { name: 'an empty label', args: ['--label', '', '--out', file('x')], says: /--label: expected a text/ },
    { name: 'no file', args: ['--label', 'a'], says: /missing required argument: out/ },
    { name: 'a file that is there', args: ['--label', 'a', '--out', file('there')], says: /is there already/ },
    { name: 'a file in no folder', args: ['--label', 'a', '--out', file('none/x')], says: /there is no folder/ },
    {
        name: 'bound to the measurement alone',
        args: ['--label', 'a', '--out', file('x'), '--bind', 'measurement'],
        says: /not be bound to policy, guestSvn, tcbVersion[\s\S]*hint: .*--insecure-selector/,
    },
    {
        name: 'bound to all but the policy',
        args: ['--label', 'a', '--out', file('x'), ...['measurement', 'guestSvn', 'tcbVersion'].flatMap(bind)],
        says: /not be bound to policy \(ERR_USAGE\)/,
    },
    {
        name: 'bound to what there is not',
        args: ['--label', 'a', '--out', file('x'), '--bind', 'chip', INSECURE],
        says: /Given: "chip"/,
    },
    {
        name: 'a TCB that is no word',
        args: ['--label', 'a', '--out', file('x'), '--tcb-version', '4.0.24.219'],
        says: /--tcb-version: expected up to 16 hex digits, got "4\.0\.24\.219"/,
    },
])
    test(`refused: ${name}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest(['derive-key', ...args], {
            env: { GUEST_ATTEST_CONFIG: config },
        })
        t.is(code, 2, stderr)
        t.is(stdout, '')
        t.regex(stderr, says)
        t.is(readFileSync(file('there'), 'utf8'), 'mine')
        t.false(existsSync(file('x')))
    })

test('no guest: no key', async (t) => {
    const ran = await guestAttest(key('nowhere').args, { env: { GUEST_ATTEST_CONFIG: config } })
    t.is(ran.code, 1)
    t.regex(ran.stderr, /ERR_NO_TEE/)
    t.false(existsSync(file('nowhere')))
})

const KEY = key('key')
const SAME = [
    key('again'),
    // What is mixed in unless told is what the emulated chip has: SVNs 4, 0, 24 and 219.
    key('versions by name', { more: ['--tcb-version', 'db18000000000004', '--guest-svn', '0'] }),
]
const OTHERS = [
    key('another label', { label: 'swap' }),
    key('another level', { more: ['--vmpl', '1'] }),
    key('an older TCB', { more: ['--tcb-version', '0x1'] }),
    key('the image, too', { more: ['policy', 'imageId', 'measurement', 'guestSvn', 'tcbVersion'].flatMap(bind) }),
    key('the measurement alone', { more: [...bind('measurement'), INSECURE] }),
]
const REFUSED = [
    { ...KEY, name: 'what is there already', code: 2, says: /is there already/ },
    { ...key('a level above the guest', { more: ['--vmpl', '4'] }), code: 3, says: /ERR_SEV_FW_INVALID_PARAM/ },
    {
        ...key('a TCB that the chip has not', { more: ['--tcb-version', 'f'.repeat(16)] }),
        code: 3,
        says: /ERR_SEV_FW_INVALID_PARAM/,
    },
    { ...key('a device that is a file'), env: UNTOLD, code: 1, says: /ERR_DEVICE_KIND/ },
]

const ended = inOneGuest(emulatedGuest(GUEST, config), [KEY, ...SAME, ...OTHERS, ...REFUSED])

possible('the same key each time: 32 bytes, for nobody else to read', async (t) => {
    for (const one of [KEY, ...SAME]) {
        const { code, stdout, stderr } = await ended(one)
        t.is(code, 0, stderr)
        t.is(stdout, '')
        t.regex(stderr, /32 bytes in .*, bound to policy, measurement, guestSvn, tcbVersion$/m)
        t.is(statSync(one.path).mode & 0o777, 0o600)
    }
    const made = readFileSync(KEY.path)
    t.is(made.length, 32)
    for (const { path } of SAME) t.deepEqual(readFileSync(path), made)
    t.false((await ended(KEY)).stderr.includes(made.toString('hex')))
})

for (const other of OTHERS)
    possible(`another key: ${other.name}`, async (t) => {
        const { code, stderr } = await ended(other)
        t.is(code, 0, stderr)
        const made = readFileSync(other.path, 'hex')
        for (const { path } of [KEY, ...OTHERS.filter((one) => one !== other)]) t.not(readFileSync(path, 'hex'), made)
    })

for (const refused of REFUSED)
    possible(`refused in a guest: ${refused.name}`, async (t) => {
        const { code, stderr } = await ended(refused)
        t.is(code, refused.code, stderr)
        t.regex(stderr, refused.says)
        t.is(existsSync(refused.path), refused.path === KEY.path)
    })

possible('a restart of the guest gets its key again; another guest of this chip does not', async (t) => {
    await ended(KEY)
    for (const { name, options, same } of [
        { name: 'restarted', options: [], same: true },
        { name: 'another measurement', options: ['--measurement', '01'.repeat(48)], same: false },
        { name: 'another policy', options: ['--policy', '0xb0000'], same: false },
        { name: 'other host data', options: ['--host-data', '01'.repeat(32)], same: true },
    ]) {
        const made = key(name)
        const ran = await inOneGuest(emulatedGuest([...GUEST, ...options], config), [made])(made)
        t.is(ran.code, 0, ran.stderr)
        t.is(readFileSync(made.path).equals(readFileSync(KEY.path)), same, name)
    }
})

interface Key extends Inside {
    readonly name: string
    readonly path: string
}

function key(name: string, { label = 'disk-cache', more = [] as readonly string[] } = {}): Key {
    const path = file(name.replaceAll(/\W+/g, '-'))
    return { name, path, args: ['derive-key', '--label', label, '--out', path, ...more] }
}

function bind(field: string): string[] {
    return ['--bind', field]
}
