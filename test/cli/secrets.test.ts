// `secrets` in an emulated SEV guest: what was injected, taken and not taken, and what is said where none is shown.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { wipe } from '#core/bytes.ts'
import { GUID_SIZE } from '#core/guid.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { encodeSecretTable, HEAD_SIZE } from '#plugins/sev/launch/secret-table.ts'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { GUEST_NEEDS, type GuestRunner, hurriedConfig, type Inside, inOneGuest } from './inside.ts'
import { guestAttest } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })
const config = hurriedConfig(folder)
const file = (name: string): string => join(folder, name)

const OTHER = 'e6f5a162-d67f-4750-a67c-5d065f2a9910'
const DISK_KEY = randomBytes(32)
const KEYSET = Buffer.from('{"a": "b"}\0')
writeFileSync(file('disk.key'), DISK_KEY)
writeFileSync(file('keyset'), KEYSET)

const guest =
    (...options: string[]): GuestRunner =>
    (command) =>
        guestAttest(['emulate', '--tee', 'sev', ...options, '--', ...command], {
            env: { GUEST_ATTEST_CONFIG: config },
            timeoutMs: 170_000,
        })

interface Case extends Inside {
    readonly name: string
    readonly code?: number
    readonly says?: RegExp
    readonly prints?: RegExp
}

/** One after the other in one guest. */
const CASES: readonly Case[] = [
    { name: 'detect', args: ['detect'], prints: /technology +sev\n[\s\S]*can +secrets\n/ },
    { name: 'both are listed', args: ['secrets', 'list'], prints: new RegExp(`^${DISK_GUID} luks-key\n${OTHER}\n$`) },
    { name: 'show', args: ['secrets', 'show', OTHER, '--out', file('shown')] },
    { name: 'show in upper case', args: ['secrets', 'show', OTHER.toUpperCase(), '--out', file('shown-again')] },
    {
        name: 'take, where the file is there',
        args: ['secrets', 'take', 'luks-key', '--out', file('disk.key')],
        code: 2,
        says: /is there already/,
    },
    { name: 'take', args: ['secrets', 'take', 'luks-key', '--out', file('taken')] },
    {
        name: 'take what was taken',
        args: ['secrets', 'take', 'luks-key', '--out', file('again')],
        code: 1,
        says: /ERR_SECRET_MISSING/,
    },
    {
        name: 'one is left',
        args: ['secrets', 'list', '--json'],
        prints: new RegExp(`^\\[\\{"guid":"${OTHER}","name":null\\}\\]\n$`),
    },
    {
        name: 'no GUID',
        args: ['secrets', 'show', '../../lsm', '--out', file('none')],
        code: 2,
        says: /a GUID or luks-key/,
    },
    {
        name: 'no proof',
        args: ['evidence', '--nonce', `hex:${'ab'.repeat(16)}`],
        code: 1,
        says: /this guest of AMD SEV has no key to prove itself with \(ERR_NO_TEE\)\n {2}hint: .*--broker-url.*secrets list/,
    },
    {
        name: 'no levels',
        args: ['evidence', '--tee', 'sev', '--vmpl', '0', '--nonce', `hex:${'ab'.repeat(16)}`],
        code: 2,
    },
    { name: 'no registers', args: ['registers', 'list'], code: 1, says: /ERR_NO_TEE/ },
    { name: 'no other interface', args: ['detect', '--via', 'ioctl'], code: 2, says: /ERR_VIA|securityfs/ },
    { name: 'another technology', args: ['secrets', 'list', '--tee', 'snp'], code: 1, says: /ERR_/ },
]

const inside = inOneGuest(guest('--secrets', `luks-key:${file('disk.key')},${OTHER}:${file('keyset')}`), CASES)

for (const wanted of CASES)
    possible(wanted.name, async (t) => {
        const { code, stdout, stderr } = await inside(wanted)
        t.is(code, wanted.code ?? 0, stderr)
        if (wanted.says) t.regex(stderr, wanted.says)
        if (wanted.prints) t.regex(stdout.toString(), wanted.prints)
        if (wanted.name !== 'one is left') return
        t.deepEqual(readFileSync(file('shown')), KEYSET)
        t.deepEqual(readFileSync(file('shown-again')), KEYSET)
        t.deepEqual(readFileSync(file('taken')), DISK_KEY)
        t.is(statSync(file('taken')).mode & 0o777, 0o600)
        t.false(existsSync(file('again')))
    })

const faults = (name: string, on: string, errno: string): string[] => {
    writeFileSync(file(name), `[[fault]]\non = "${on}"\nkind = "errno"\nerrno = "${errno}"\n`)
    return ['--faults', file(name)]
}
const LIST = { args: ['secrets', 'list'] }
const DOCTOR = { args: ['doctor'] }

const sound = encodeSecretTable(
    [
        { guid: DISK_GUID, data: DISK_KEY },
        { guid: OTHER, data: KEYSET },
    ],
    0xc00,
)
const changed = (name: string, change: (table: Buffer) => void): string[] => {
    const table = Buffer.from(sound)
    change(table)
    writeFileSync(file(name), table)
    wipe(table)
    return ['--secret-table', file(name)]
}

for (const { name, options, says } of [
    { name: 'no module', options: ['--kernel', 'no-module'], says: /ERR_SECRETS_MODULE[\s\S]*modprobe efi_secret/ },
    { name: 'no securityfs', options: ['--kernel', 'no-securityfs'], says: /ERR_SECRETS_SECURITYFS[\s\S]*mount -t/ },
    { name: 'no area', options: ['--kernel', 'no-area'], says: /ERR_SECRETS_NONE/ },
    { name: 'no such option', options: ['--kernel', 'no-option'], says: /ERR_SECRETS_KERNEL/ },
    { name: 'no table', options: changed('empty', (table) => table.fill(0)), says: /ERR_SECRETS_NONE/ },
    {
        name: 'a GUID twice',
        options: changed('twice', (table) => {
            const second = HEAD_SIZE + table.readUInt32LE(HEAD_SIZE + GUID_SIZE)
            table.copy(table, second, HEAD_SIZE, HEAD_SIZE + GUID_SIZE)
        }),
        says: /ERR_SECRETS_TABLE/,
    },
    {
        name: 'an entry beyond the table',
        options: changed('beyond', (table) => table.writeUInt32LE(0x800, HEAD_SIZE + GUID_SIZE)),
        says: /is corrupted/,
    },
])
    possible(`none is shown: ${name}`, async (t) => {
        const ask = inOneGuest(guest(...options), [LIST, DOCTOR])
        const { code, stderr } = await ask(LIST)
        t.is(code, 1)
        t.regex(stderr, says)
        t.regex((await ask(DOCTOR)).stderr + (await ask(DOCTOR)).stdout, new RegExp(says.source.split('[')[0] ?? ''))
    })

for (const { name, options, words, code, says, written } of [
    {
        name: 'it is not wiped, and in the file',
        options: faults('no-wipe', 'wipeSecret', 'EIO'),
        words: ['take', OTHER, '--out', file('unwiped')],
        code: 3,
        says: new RegExp(`${OTHER} is in \\S+unwiped, and is not wiped from memory: .*EIO.*ERR_DEVICE_IO`),
        written: file('unwiped'),
    },
    {
        name: 'it may not be wiped',
        options: faults('may-not', 'wipeSecret', 'EACCES'),
        words: ['take', OTHER, '--out', file('kept')],
        code: 3,
        says: /is not wiped from memory: .*EACCES[\s\S]*hint: run this as root/,
        written: file('kept'),
    },
    {
        name: 'it is not read, and so not wiped',
        options: faults('no-read', 'readSecret', 'EIO'),
        words: ['take', OTHER, '--out', file('unread')],
        code: 3,
        says: /ERR_DEVICE_IO/,
        written: null,
    },
    {
        name: 'the file cannot be written, and so it is not wiped',
        options: [],
        words: ['take', OTHER, '--out', '/proc/secret'],
        code: 3,
        says: /\/proc\/secret: no file can be made in that folder/,
        written: null,
    },
] as const)
    possible(`nothing is lost: ${name}`, async (t) => {
        const taken = { args: ['secrets', ...words] }
        const guided = guest('--secrets', `${OTHER}:${file('keyset')}`, ...options)
        const ask = inOneGuest(guided, [taken, LIST])
        const ran = await ask(taken)
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.is((await ask(LIST)).stdout, `${OTHER}\n`)
        if (written !== null) t.deepEqual(readFileSync(written), KEYSET)
        t.is(existsSync(words[3]), written !== null)
    })

for (const { name, options, says } of [
    { name: 'no file', options: ['--secrets', 'luks-key'], says: /GUID:FILE/ },
    { name: 'no GUID', options: ['--secrets', `disk:${file('disk.key')}`], says: /GUID:FILE/ },
    { name: 'no such kernel', options: ['--kernel', 'none'], says: /no-module/ },
    {
        name: 'twice the same',
        options: ['--secrets', `luks-key:${file('disk.key')},luks-key:${file('disk.key')}`],
        says: /stands twice/,
    },
    { name: 'another technology’s', options: ['--measurement', 'ab'], says: /not of AMD SEV / },
])
    possible(`emulate refuses: ${name}`, async (t) => {
        const { code, stderr } = await guest(...options)(['true'])
        t.is(code, 2)
        t.regex(stderr, says)
    })
