// Volumes that the real cryptsetup and clevis made, and what is said of each.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { checkHeader } from '#luks/check.ts'
import { copyHeader } from '#luks/device.ts'
import type { LuksVolume } from '#luks/volume.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { CHEAP, format, imageOf, must, PASSPHRASE, run, SMALL } from './cryptsetup.ts'
import { type Changes, forge, reforge, UUID } from './forge.ts'

const withCryptsetup = needs(programs('cryptsetup'))
const withClevis = needs(programs('cryptsetup', 'clevis', 'clevis-luks-bind'))

const ARGON2ID = ['--pbkdf', 'argon2id', '--pbkdf-force-iterations', '4', '--pbkdf-memory', '32']

for (const { name, args, want, size } of [
    { name: 'as cryptsetup makes it', args: [], want: { cipher: 'aes-xts-plain64', volumeKeyBits: 512 }, size: 20 },
    { name: 'PBKDF2 at its cheapest', args: [...CHEAP, ...SMALL], want: { guessable: ['0'] } },
    {
        name: 'Argon2id',
        args: [...ARGON2ID, ...SMALL],
        want: { keyslots: [{ id: '0', kdf: 'argon2id with 4 passes over 32 KiB', tokens: [] }] },
    },
    { name: 'a key of 256 bits', args: [...CHEAP, ...SMALL, '--key-size', '256'], want: { volumeKeyBits: 256 } },
    { name: 'SHA-512', args: [...CHEAP, ...SMALL, '--hash', 'sha512'], want: {} },
    { name: 'sectors of 512 bytes', args: [...CHEAP, ...SMALL, '--sector-size', '512'], want: { sectorSize: 512 } },
    { name: 'sectors of 4096 bytes', args: [...CHEAP, ...SMALL, '--sector-size', '4096'], want: { sectorSize: 4096 } },
    { name: 'metadata of 32 KiB', args: [...CHEAP, '--luks2-metadata-size', '32k'], want: {}, size: 20 },
    { name: 'metadata of 4 MiB', args: [...CHEAP, '--luks2-metadata-size', '4m'], want: {}, size: 40 },
    {
        name: 'names and a UUID',
        args: [...CHEAP, ...SMALL, '--label', 'größe', '--subsystem', 'a b', '--uuid', UUID.toUpperCase()],
        want: { label: 'größe', subsystem: 'a b', uuid: UUID },
    },
] satisfies { name: string; args: string[]; want: Partial<LuksVolume>; size?: number }[])
    withCryptsetup(`accepted: ${name}`, (t) => {
        const { verdict, checks, volume } = checkHeader(
            copyHeader(format(t, ['--type', 'luks2', ...args], (size ?? 4) * 1024 * 1024)),
        )
        t.deepEqual(
            checks.filter(({ result }) => result === 'fail'),
            [],
        )
        t.is(verdict, 'pass')
        t.like(volume, { authenticated: false, scrambles: 'a block of 16 bytes', integrity: null, ...want })
    })

withCryptsetup('accepted: several key slots, priorities, tokens, flags', (t) => {
    const path = format(t, ['--type', 'luks2', ...CHEAP, ...SMALL])
    const keyFile = join(temporaryFolder(t), 'key')
    writeFileSync(keyFile, PASSPHRASE)
    must('cryptsetup', 'luksAddKey', '--batch-mode', '--key-file', keyFile, ...ARGON2ID, path, keyFile)
    must('cryptsetup', 'config', '--priority', 'prefer', '--key-slot', '1', path)
    must('cryptsetup', 'token', 'add', '--key-description', 'volume', '--key-slot', '0', path)
    const { verdict, volume, remains } = checkHeader(copyHeader(path))
    t.is(verdict, 'pass')
    t.deepEqual(volume?.tokens, [{ id: '0', type: 'luks2-keyring', keyslots: ['0'] }])
    t.deepEqual(volume?.guessable, ['0', '1'])
    t.true(remains.some((line) => line.includes('guess the passphrase of key slot 1')))
    // The passphrase opens what was judged: the header in the image is the real one.
    must('cryptsetup', 'open', '--test-passphrase', '--key-file', keyFile, path)
})

withClevis('clevis bindings to pins of the host: refused unless they are named; their passphrases are random', (t) => {
    const path = format(t, ['--type', 'luks2', '--iter-time', '100', '--pbkdf', 'pbkdf2'], 20 * 1024 * 1024)
    const keyFile = join(temporaryFolder(t), 'key')
    writeFileSync(keyFile, PASSPHRASE)
    must('clevis', 'luks', 'bind', '-d', path, '-y', '-k', keyFile, 'null', '{}')
    must('clevis', 'luks', 'bind', '-d', path, '-y', '-k', keyFile, 'sss', '{"t":1,"pins":{"null":{}}}')
    t.deepEqual(failures(copyHeader(path)), ['tokens ERR_LUKS_PIN'])
    const { verdict, volume } = checkHeader(copyHeader(path), { insecurePins: ['null'] })
    t.is(verdict, 'pass')
    t.deepEqual(
        volume?.tokens.map(({ type, pin }) => `${type} ${pin}`),
        ['clevis null', 'clevis sss (1 of null)'],
    )
    t.deepEqual(volume?.keyslots.slice(1), [
        { id: '1', kdf: 'pbkdf2 with 1000 iterations', tokens: ['0'] },
        { id: '2', kdf: 'pbkdf2 with 1000 iterations', tokens: ['1'] },
    ])
    t.false(volume?.guessable.includes('1'))
})

withCryptsetup('accepted: LUKS1 after its conversion; refused before', (t) => {
    const path = format(t, ['--type', 'luks1', '--pbkdf-force-iterations', '1000'])
    t.like(checkHeader(copyHeader(path)).checks[0], { result: 'fail', code: 'ERR_LUKS_VERSION' })
    must('cryptsetup', 'convert', '--batch-mode', '--type', 'luks2', path)
    t.is(checkHeader(copyHeader(path)).verdict, 'pass')
})

withCryptsetup('a detached header passes as such, and not in front of its data', (t) => {
    const header = join(temporaryFolder(t), 'header')
    format(t, ['--type', 'luks2', ...CHEAP, '--header', header])
    t.is(checkHeader(copyHeader(header), { detached: true }).verdict, 'pass')
    t.deepEqual(failures(copyHeader(header)), ['segment ERR_LUKS_SEGMENT'])
})

for (const { name, format: args, after, want } of [
    {
        name: 'a re-encryption that was begun',
        format: [...CHEAP, ...SMALL],
        after: ['reencrypt', '--batch-mode', '--init-only', ...CHEAP, '--key-file', '-'],
        want: ['reencryption ERR_LUKS_REENCRYPTION'],
    },
    {
        name: 'a key slot of another key',
        format: [...CHEAP, ...SMALL],
        after: ['luksAddKey', '--batch-mode', '--unbound', '--key-size', '512', ...CHEAP, '--new-keyfile', '/dev/null'],
        want: ['digest ERR_LUKS_DIGEST'],
    },
    {
        name: 'aes-cbc-essiv',
        format: [...CHEAP, ...SMALL, '--cipher', 'aes-cbc-essiv:sha256', '--key-size', '256'],
        after: null,
        want: ['cipher ERR_LUKS_CIPHER', 'key-slot-ciphers ERR_LUKS_CIPHER'],
    },
    {
        name: 'SHA-1',
        format: [...CHEAP, ...SMALL, '--hash', 'sha1'],
        after: null,
        want: ['key-slots ERR_LUKS_HASH', 'digest ERR_LUKS_HASH'],
    },
])
    withCryptsetup(`refused: ${name}`, (t) => {
        const path = format(t, ['--type', 'luks2', ...args])
        if (after) t.is(run('cryptsetup', [...after, path]).status, 0)
        t.deepEqual(failures(copyHeader(path)), want)
    })

withCryptsetup('a host exchanges the cipher of a real volume: cryptsetup opens it, the check does not', (t) => {
    const path = format(t, ['--type', 'luks2', ...CHEAP, ...SMALL])
    const forged = reforge(readFileSync(path), { 'segments.0.encryption': 'cipher_null-ecb' })
    writeFileSync(path, forged)
    t.is(run('cryptsetup', ['open', '--test-passphrase', '--key-file', '-', path]).status, 0)
    t.deepEqual(failures(copyHeader(path)), ['cipher ERR_LUKS_NULL_CIPHER'])
})

withCryptsetup('cryptsetup overwrites a damaged copy with the other one as soon as it reads', (t) => {
    const path = imageOf(t, forge({ secondary: { header: { csum: Buffer.alloc(64) } } }), 4 * 1024 * 1024)
    t.deepEqual(failures(copyHeader(path)), ['secondary-header ERR_LUKS_CHECKSUM'])
    must('cryptsetup', 'luksDump', path)
    t.is(checkHeader(copyHeader(path)).verdict, 'pass')
})

const integrity = (type: string) => ({ type, journal_encryption: 'none', journal_integrity: 'none' })
const sizedSlots = (size: number): Changes => ({ 'keyslots.0.key_size': size, 'keyslots.1.key_size': size })

// dm-integrity needs the kernel's device-mapper, so these headers are written here; cryptsetup reads them.
for (const { name, set, want } of [
    {
        name: 'AES-XTS with HMAC',
        set: {
            ...sizedSlots(64),
            'segments.0.integrity': integrity('hmac(sha256)'),
        },
        want: { authenticated: true, scrambles: null, integrity: 'hmac(sha256)', volumeKeyBits: 512 },
    },
    {
        name: 'AES-GCM',
        set: {
            ...sizedSlots(32),
            'segments.0.encryption': 'aes-gcm-random',
            'segments.0.integrity': integrity('aead'),
        },
        want: { authenticated: true, integrity: 'aead' },
    },
    {
        name: 'ChaCha20-Poly1305',
        set: {
            ...sizedSlots(32),
            'segments.0.encryption': 'chacha20-random',
            'segments.0.integrity': integrity('poly1305'),
        },
        want: { authenticated: true },
    },
    {
        name: 'Adiantum',
        set: { ...sizedSlots(32), 'segments.0.encryption': 'xchacha12,aes-adiantum-plain64' },
        want: { authenticated: false, scrambles: 'a whole sector' },
    },
    {
        name: 'AES-HCTR2',
        set: { ...sizedSlots(32), 'segments.0.encryption': 'aes-hctr2-plain64' },
        want: { authenticated: false, scrambles: 'a whole sector' },
    },
    { name: 'a fixed size', set: { 'segments.0.size': '4096' }, want: { dataSize: 4096n } },
    { name: 'flags', set: { 'config.flags': ['allow-discards'] }, want: { flags: ['allow-discards'] } },
]) {
    test(`accepted: ${name}`, (t) => {
        const { verdict, volume } = checkHeader(forge({ set }))
        t.is(verdict, 'pass')
        t.like(volume, want)
    })

    withCryptsetup(`cryptsetup takes it: ${name}`, (t) => {
        const path = imageOf(t, forge({ set }), 4 * 1024 * 1024)
        t.regex(must('cryptsetup', 'luksDump', path), /LUKS header information/)
    })
}

test('without authentication the host can scramble and roll back, with it only roll back', (t) => {
    const plain = checkHeader(forge(), { uuid: UUID }).remains.join('\n')
    t.regex(plain, /change the data unnoticed: each change turns a block of 16 bytes of its choice into noise/)
    t.regex(plain, /put back an older state of each sector/)
    const hmac = checkHeader(forge({ set: { 'segments.0.integrity': integrity('hmac(sha256)') } })).remains.join('\n')
    t.notRegex(hmac, /unnoticed/)
    t.regex(hmac, /put back an older state of each sector/)
})

test('what a device of the host could open is said', (t) => {
    const set = { 'tokens.1': { type: 'systemd-tpm2', keyslots: ['0'] } }
    const told = (header: Buffer) => checkHeader(header).remains.filter((line) => line.includes('device of its own'))
    t.deepEqual(told(forge({ set })), [
        'give a device of its own that opens token 1 (systemd-tpm2), where the system opens volumes with such tokens',
    ])
    t.deepEqual(told(forge()), [])
})

function failures(copy: Buffer): string[] {
    return checkHeader(copy)
        .checks.filter(({ result }) => result === 'fail')
        .map(({ name, code }) => `${name} ${code}`)
}
