// A volume that opens with what was injected into the guest: the passphrase itself, from a header that was judged.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { secret } from '#core/bytes.ts'
import { silent } from '#core/log.ts'
import { secretGuid } from '#core/secret-names.ts'
import { driverError } from '#drivers/errors.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { bootDenials } from '#unlock/denials.ts'
import { passphraseOf } from '#unlock/injected.ts'
import { bootStatus } from '#unlock/status.ts'
import { unlockVolume } from '#unlock/unlock-volume.ts'
import { headerFile } from '#unlock/volume-header.ts'
import type { SecretVolume } from '#unlock/volumes.ts'
import { PATH } from '../kbs/scripted.ts'
import { boundImage } from '../luks/bound.ts'
import { must } from '../luks/cryptsetup.ts'

const GUID = '736869e5-84f0-4973-92ec-06879ce3da0b'
const OTHER = 'e6f5a162-d67f-4750-a67c-5d065f2a9910'
const withCryptsetup = needs(programs('cryptsetup'))

test('the name that GRUB and libvirt have for it', (t) => t.is(secretGuid('luks-key'), GUID))

for (const { name, guid, bytes, want, said = 0 } of [
    { name: 'as it is', guid: GUID, bytes: 'abc', want: 'abc' },
    { name: 'one zero byte', guid: GUID, bytes: 'abc\0', want: 'abc', said: 1 },
    { name: 'two of them', guid: GUID, bytes: 'abc\0\0', want: 'abc\0', said: 1 },
    { name: 'a line feed', guid: GUID, bytes: 'abc\n', want: 'abc\n' },
    { name: 'a zero byte within', guid: GUID, bytes: 'a\0c', want: 'a\0c' },
    { name: 'the zero byte of another secret', guid: OTHER, bytes: 'abc\0', want: 'abc\0' },
    { name: 'nothing', guid: OTHER, bytes: '', want: null },
    { name: 'a zero byte alone', guid: GUID, bytes: '\0', want: null, said: 1 },
])
    test(`the passphrase that a secret is: ${name}`, (t) => {
        const lines: string[] = []
        const ask = () => passphraseOf(guid, secret(Buffer.from(bytes)), (text) => lines.push(text)).toString()
        if (want === null) t.throws(ask, { code: 'ERR_UNLOCK_KEY' })
        else t.is(ask(), want)
        t.is(lines.length, said)
    })

const KEY = Buffer.alloc(32, 7)

interface Case {
    /** What was injected for this passphrase of the disk. */
    readonly injected?: (passphrase: string) => Buffer
    readonly volume?: Partial<SecretVolume>
    readonly commandLine?: string
}

async function open(t: ExecutionContext, { injected = Buffer.from, volume = {}, commandLine = '' }: Case) {
    const bound = boundImage(t, KEY, formatResourcePath(PATH), 1)
    const folder = temporaryFolder(t)
    const [said, delivered, asked]: [string[], string[], string[]] = [[], [], []]
    const given = secret(injected(bound.passphrase))
    let ready = 0
    const code = await unlockVolume(
        {
            name: 'root',
            uuid: bound.uuid,
            secret: GUID,
            frontEnd: 'socket',
            profile: 'strict',
            onFailure: 'poweroff',
            deadlineS: 3,
            root: true,
            ...volume,
        },
        {
            ready: () => void ready++,
            deliver: async (passphrase) => void delivered.push(passphrase.toString('latin1')),
        },
        {
            anchors: [],
            attester: async () => t.fail('nobody is asked') as never,
            denials: bootDenials(join(folder, 'denied')),
            log: silent,
            requestTimeoutMs: 5000,
            staggerMs: 100,
            status: bootStatus('root', folder, [(_level, line) => said.push(line)]),
            async injected(guid) {
                asked.push(guid)
                if (given.length > 0) return given
                throw driverError('ERR_SECRET_MISSING', `there is no secret ${guid}`)
            },
            runFolder: folder,
            device: bound.image,
            commandLine: () => commandLine,
        },
    )
    return { code, said, delivered, asked, ready, folder, bound, given }
}

for (const { name, injected, stripped } of [
    { name: 'as it is', injected: Buffer.from, stripped: false },
    {
        name: 'with a zero byte behind it, as GRUB needs it',
        injected: (text: string) => Buffer.from(`${text}\0`),
        stripped: true,
    },
])
    for (const profile of ['strict', 'compat'] as const)
        withCryptsetup(`opens (${profile}): ${name}`, async (t) => {
            const { code, said, delivered, asked, ready, folder, bound, given } = await open(t, {
                injected: (text) => injected(text),
                volume: { profile },
            })
            t.is(code, 0)
            t.is(ready, 1)
            t.deepEqual(asked, [GUID])
            t.deepEqual(delivered, [bound.passphrase])
            t.true(given.every((byte) => byte === 0))
            const keyFile = join(folder, 'key')
            writeFileSync(keyFile, delivered[0] ?? '', 'latin1')
            const header = headerFile('root', folder)
            must('cryptsetup', 'open', '--test-passphrase', '--key-file', keyFile, '--header', header, bound.image)
            t.is(said.filter((line) => line.includes('zero byte')).length, stripped ? 1 : 0)
            for (const text of [...said, readFileSync(join(folder, 'boot.jsonl'), 'utf8')])
                t.false(text.includes(bound.passphrase))
        })

for (const { name, says, reads, ...given } of [
    { name: 'no such secret', injected: () => Buffer.alloc(0), says: /there is no secret/, reads: 1 },
    { name: 'an empty one', injected: () => Buffer.alloc(1), says: /the injected passphrase is empty/, reads: 1 },
    {
        name: 'another disk',
        volume: { uuid: '0b5317c0-ff25-49bd-b85d-45c1d000098a' },
        says: /refused: .*expected 0b53/,
        reads: 0,
    },
    { name: 'a command line with a shell', commandLine: 'rd.break', says: /rd\.break/, reads: 0 },
])
    withCryptsetup(`refused: ${name}`, async (t) => {
        const { code, said, delivered, asked, ready, folder } = await open(t, given)
        t.is(code, 1)
        t.regex(said.at(-1) ?? '', says)
        t.deepEqual(delivered, [])
        t.is(asked.length, reads)
        t.is(ready, 0)
        t.false(existsSync(headerFile('root', folder)))
    })
