// What `sev validate`, `sev inject` and `sev session` refuse before they write, and that what belongs together is written
// whole or not at all.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '../folder.ts'
import { minted } from '../plugins/sev/minted.ts'
import { launch, makeFirmware } from '../plugins/sev/rig.ts'
import { guestAttest } from './run.ts'

const { keys } = await minted()
const inputs = temporaryFolder({ teardown: test.after.always })
const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(inputs, name), bytes)
    return join(inputs, name)
}

const firmware = file('fw.fd', makeFirmware())
const { words, digest } = launch(inputs, keys, { firmware, policy: 0xb })
const DISK = `luks-key:${file('disk.key', 'correct horse battery staple')}`
const EMPTY = `luks-key:${file('empty', '')}`
const LARGE = `luks-key:${file('large', Buffer.alloc(0x5000))}`
const ROOM = `luks-key:${file('room', Buffer.alloc(0xd00))}`
const DIGEST = ['--launch-digest', digest.toString('hex')]

/** The options that name the packet's files, of both commands, and where a row puts these. */
const FILES = { validate: ['--secret-header', '--secret-payload'], inject: ['--header', '--payload'] } as const

interface Row {
    readonly name: string
    readonly command: keyof typeof FILES
    readonly args?: readonly string[]
    /** The packet's head and the packet; in a folder of the row's own unless absolute. */
    readonly files?: readonly [header: string, payload: string]
    readonly code: number
    readonly says: RegExp
}

const both = (row: Omit<Row, 'command'>): Row[] => [
    { ...row, command: 'validate', args: ['-s', ...(row.args ?? [DISK])] },
    { ...row, command: 'inject', args: [...DIGEST, '--secret', ...(row.args ?? [DISK])] },
]

for (const { name, command, args = [], files = ['h', 'p'], code, says } of [
    ...both({ name: 'one file for both', files: ['h', './h'], code: 2, says: /-header and --\S+ name the same file/ }),
    ...both({ name: 'one file by way of a link', files: ['h', 'link/h'], code: 2, says: /name the same file/ }),
    ...both({ name: 'no folder', files: ['h', 'none/p'], code: 2, says: /payload: there is no folder/ }),
    ...both({ name: 'an empty secret', args: [EMPTY], code: 2, says: /secret: \S+empty is empty/ }),
    ...both({ name: 'a secret that no packet holds', args: [LARGE], code: 2, says: /secret: \S+large: larger than/ }),
    ...both({ name: 'a secret that the area does not hold', args: [ROOM], code: 2, says: /has room for 3072/ }),
    {
        name: 'a folder',
        command: 'validate',
        args: ['-s', DISK],
        files: ['folder', 'p'],
        code: 2,
        says: /no file that/,
    },
    {
        name: 'a device',
        command: 'validate',
        args: ['-s', DISK],
        files: ['/dev/null', 'p'],
        code: 2,
        says: /no file that/,
    },
    { name: 'no secret', command: 'validate', code: 2, says: /are nothing without --inject-secret/ },
    {
        name: 'a folder that takes no file',
        command: 'validate',
        args: ['-s', DISK],
        files: ['/proc/h', 'p'],
        code: 6,
        says: /\/proc\/h: no file can be made in that folder/,
    },
    {
        name: 'a folder that takes no file',
        command: 'inject',
        args: [...DIGEST, '--secret', DISK],
        files: ['h', '/proc/p'],
        code: 3,
        says: /\/proc\/p: no file can be made in that folder/,
    },
] as readonly Row[])
    test(`${command}: ${name}`, async (t) => {
        const folder = temporaryFolder(t)
        mkdirSync(join(folder, 'folder'))
        const there = command === 'validate' ? ['p'] : []
        for (const one of there) writeFileSync(join(folder, one), 'theirs')
        const link = join(folder, 'link')
        symlinkSync(folder, link)
        const [header, payload] = files.map((path) => (path.startsWith('/') ? path : `${folder}/${path}`))
        const [head, body] = FILES[command]
        const ran = await guestAttest(['sev', command, ...words(), ...args, head, header ?? '', body, payload ?? ''])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.deepEqual(readdirSync(folder).toSorted(), ['folder', 'link', ...there])
        for (const one of there) t.is(readFileSync(join(folder, one), 'utf8'), 'theirs')
    })

const es = launch(inputs, keys, { firmware, policy: 0xf, cpus: 2 })

for (const { name, args, says } of [
    {
        name: 'of another profile',
        args: [...es.words(), '--profile', 'kvm-init2'],
        says: /hint: it is that of --profile kvm-legacy: /,
    },
    {
        name: 'of nothing that is known',
        args: es.words(Buffer.alloc(48)),
        says: /hint: look at firmware, kernel .*; --debug prints the digest/,
    },
    { name: 'of plain SEV', args: words(Buffer.alloc(48)), says: /hint: look at firmware, kernel .*; --debug prints/ },
])
    test(`validate: a measurement ${name}`, async (t) => {
        const ran = await guestAttest(['sev', 'validate', ...args])
        t.is(ran.code, 1, ran.stderr)
        t.regex(ran.stderr, says)
    })

test('inject: a digest, and none', async (t) => {
    const files = ['--header', join(inputs, 'no.h'), '--payload', join(inputs, 'no.p')]
    const ran = await guestAttest([
        ...['sev', 'inject', ...words(), ...DIGEST, '--insecure-unvalidated', '--secret', DISK, ...files],
    ])
    t.is(ran.code, 2)
    t.regex(ran.stderr, /--launch-digest and --insecure-unvalidated were both given: leave one out/)
})
