// Our token in a LUKS2 header: what it may say, the keys that are derived from its resource, and what its digest sees.
// SPDX-License-Identifier: Apache-2.0

import { createHash, hkdfSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { bindingKeys, checkDigest, formatBinding, headerDigest, readBindings } from '#luks/binding.ts'
import { checkHeader } from '#luks/check.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs } from '#test/machine.ts'
import { needs } from '#test/needs.ts'
import { CHEAP, format, imageOf, must, PASSPHRASE, SMALL } from './cryptsetup.ts'
import { type Changes, forge, reforge } from './forge.ts'

const withCryptsetup = needs(programs('cryptsetup'))

const BINDING = {
    id: '1',
    keyslot: '1',
    path: 'default/luks/web-1',
    version: 3,
    salt: Buffer.alloc(32, 7),
    digest: Buffer.alloc(32, 9),
} as const
const TOKEN = formatBinding(BINDING)
const KEY = Buffer.alloc(32, 5)

const tokensOf = (header: Buffer) => checkHeader(header).checks.find(({ name }) => name === 'tokens')

test('a token of ours passes the check, and is read as it was written', (t) => {
    const header = forge({ set: { 'tokens.1': TOKEN } })
    t.like(tokensOf(header), { result: 'pass', detail: '0 clevis kbs, 1 guest-attest (default/luks/web-1, version 3)' })
    t.deepEqual(readBindings(header), [{ ...BINDING }])
})

test('the newest version of the resource comes first, and one without versions last', (t) => {
    const set: Changes = {
        'tokens.1': { ...TOKEN, version: null },
        'tokens.2': { ...TOKEN, version: 2 },
        'tokens.3': TOKEN,
    }
    t.deepEqual(
        readBindings(forge({ set })).map(({ id }) => id),
        ['3', '2', '1'],
    )
})

for (const { name, token, says } of [
    { name: 'an unknown member', token: { ...TOKEN, url: 'https://x' }, says: /token 1: .*url/ },
    { name: 'no salt', token: { ...TOKEN, salt: undefined }, says: /token 1: salt/ },
    { name: 'a short salt', token: { ...TOKEN, salt: 'AAAA' }, says: /salt: expected base64url of 32 bytes/ },
    { name: 'a salt that is padded', token: { ...TOKEN, salt: `${TOKEN.salt}=` }, says: /salt: expected base64url/ },
    { name: 'a short digest', token: { ...TOKEN, digest: 'AAAA' }, says: /digest: expected base64url of 32 bytes/ },
    { name: 'another version of the format', token: { ...TOKEN, v: 2 }, says: /token 1: v/ },
    { name: 'version 0', token: { ...TOKEN, version: 0 }, says: /token 1: version/ },
    { name: 'a version that is a text', token: { ...TOKEN, version: '3' }, says: /token 1: version/ },
    { name: 'a path with two names', token: { ...TOKEN, path: 'luks/web-1' }, says: /path: expected REPOSITORY/ },
    { name: 'a path with a zero byte', token: { ...TOKEN, path: 'a/b/c~' }, says: /path: expected REPOSITORY/ },
    { name: 'two key slots', token: { ...TOKEN, keyslots: ['0', '1'] }, says: /keyslots: expected one key slot/ },
    { name: 'no key slot', token: { ...TOKEN, keyslots: [] }, says: /keyslots: expected one key slot/ },
    { name: 'a key slot that is not there', token: { ...TOKEN, keyslots: ['5'] }, says: /there is no key slot "5"/ },
])
    test(`refused: ${name}`, (t) => {
        const check = tokensOf(forge({ set: { 'tokens.1': token } }))
        t.like(check, { result: 'fail', code: 'ERR_LUKS_TOKEN' })
        t.regex(check?.detail ?? '', says)
    })

test('the keys: HKDF as it is written down, and ASCII for the passphrase', (t) => {
    const resource = createHash('sha256').update('a resource').digest()
    const { passphrase, headerKey } = bindingKeys(resource, BINDING)
    const hkdf = (info: string) => Buffer.from(hkdfSync('sha256', resource, BINDING.salt, Buffer.from(info), 32))
    t.is(
        passphrase.toString('ascii'),
        hkdf('guest-attest/luks-passphrase/v1\0default/luks/web-1\x003').toString('base64url'),
    )
    t.deepEqual(Buffer.from(headerKey), hkdf('guest-attest/luks-header/v1\0default/luks/web-1\x003'))
    // Written down, and never to change: what 0.2 bound opens for ever.
    t.is(passphrase.toString('ascii'), 'PgBli3woCsagKM8dK1etkAAvH4lX10LlRZSaZmfplYs')
    t.is(headerKey.toString('hex'), '353c46801c72744fdec32889ed305fb02c29b573828014cd13344616b161066c')
})

for (const [name, other] of Object.entries({
    version: { ...BINDING, version: 4 },
    'no version': { ...BINDING, version: null },
    path: { ...BINDING, path: 'default/luks/web-2' },
    salt: { ...BINDING, salt: Buffer.alloc(32, 8) },
}))
    test(`another ${name}: other keys`, (t) => {
        const [mine, theirs] = [bindingKeys(KEY, BINDING), bindingKeys(KEY, other)]
        t.false(mine.passphrase.equals(theirs.passphrase))
        t.false(mine.headerKey.equals(theirs.headerKey))
    })

const made = (t: Parameters<typeof format>[0]) => format(t, ['--type', 'luks2', ...CHEAP, ...SMALL])

/** A change of the file by a forger who knows how to write checksums. */
const forged =
    (changes: Changes, header: Parameters<typeof reforge>[2] = {}) =>
    (path: string) =>
        writeFileSync(path, reforge(readFileSync(path), changes, header))

const flip = (at: number) => (path: string) => {
    const bytes = readFileSync(path)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at)
    writeFileSync(path, bytes)
}

const cryptsetup =
    (...args: string[]) =>
    (path: string) =>
        void must('cryptsetup', ...args, path)

const addKey = (path: string) => {
    const keyFile = `${path}.key`
    writeFileSync(keyFile, PASSPHRASE)
    must('cryptsetup', 'luksAddKey', '--batch-mode', '--key-file', keyFile, ...CHEAP, path, keyFile)
}

const importToken = (path: string) => {
    writeFileSync(`${path}.json`, JSON.stringify({ ...TOKEN, keyslots: ['0'] }))
    must('cryptsetup', 'token', 'import', '--json-file', `${path}.json`, path)
}

const AREA = 32768

for (const { name, change } of [
    {
        name: 'the UUID',
        change: cryptsetup('luksUUID', '--batch-mode', '--uuid', '0b5317c0-ff25-49bd-b85d-45c1d000098b'),
    },
    { name: 'the cipher of the data', change: forged({ 'segments.0.encryption': 'cipher_null-ecb' }) },
    { name: 'where the data begins', change: forged({ 'segments.0.offset': '2097152' }) },
    { name: 'how long the data is', change: forged({ 'segments.0.size': '4096' }) },
    { name: 'integrity of the data', change: forged({ 'segments.0.integrity': { type: 'none' } }) },
    { name: 'the digest of the volume key', change: forged({ 'digests.0.iterations': 1001 }) },
    { name: 'a further key slot', change: addKey },
    {
        name: 'the priority of a key slot',
        change: cryptsetup('config', '--priority', 'prefer', '--key-slot', '0'),
    },
    { name: 'the cipher of a key slot', change: forged({ 'keyslots.0.area.encryption': 'cipher_null-ecb' }) },
    { name: 'the derivation of a key slot', change: forged({ 'keyslots.0.kdf.iterations': 1001 }) },
    { name: 'a flag', change: forged({ 'config.flags': ['allow-discards'] }) },
    { name: 'a requirement', change: forged({ 'config.requirements': { mandatory: ['opal'] } }) },
    { name: 'the first byte of a key-slot area', change: flip(AREA) },
    { name: 'the last byte of a key-slot area', change: flip(AREA + 258048 - 1) },
])
    withCryptsetup(`another digest: ${name}`, (t) => {
        const path = made(t)
        const before = headerDigest(copyWholeHeader(path), KEY)
        change(path)
        const copy = copyWholeHeader(path)
        t.false(headerDigest(copy, KEY).equals(before))
        t.throws(() => checkDigest(copy, { ...BINDING, digest: before }, KEY), { code: 'ERR_LUKS_HEADER_DIGEST' })
    })

for (const { name, change } of [
    { name: 'nothing at all', change: () => undefined },
    { name: 'a token that cryptsetup made', change: cryptsetup('token', 'add', '--key-description', 'x') },
    { name: 'a token of ours', change: importToken },
    {
        name: 'a token that came and went: another sequence number',
        change: (path: string) => {
            importToken(path)
            must('cryptsetup', 'token', 'remove', '--token-id', '0', path)
        },
    },
    { name: 'the sequence number', change: forged({}, { seqid: 77n }) },
    { name: 'salt, and with it the checksums', change: forged({}, { salt: Buffer.alloc(64, 1) }) },
    { name: 'a label', change: cryptsetup('config', '--label', 'root') },
    { name: 'bytes between the key slots and the data', change: flip(AREA + 2 * 258048) },
    { name: 'the data', change: flip(1024 * 1024 + 5) },
])
    withCryptsetup(`the same digest: ${name}`, (t) => {
        const path = made(t)
        const before = headerDigest(copyWholeHeader(path), KEY)
        change(path)
        const copy = copyWholeHeader(path)
        t.true(headerDigest(copy, KEY).equals(before))
        t.notThrows(() => checkDigest(copy, { ...BINDING, digest: before }, KEY))
        t.false(headerDigest(copy, Buffer.alloc(32, 6)).equals(before), 'another key')
    })

withCryptsetup('cryptsetup opens from the whole copy, and from nothing else of the disk', (t) => {
    const path = made(t)
    const copy = copyWholeHeader(path)
    t.is(copy.length, 2 * 16384 + 512 * 1024)
    const header = join(temporaryFolder(t), 'header')
    const keyFile = `${header}.key`
    writeFileSync(header, copy)
    writeFileSync(keyFile, PASSPHRASE)
    writeFileSync(path, Buffer.alloc(4 * 1024 * 1024))
    must('cryptsetup', 'open', '--test-passphrase', '--header', header, '--key-file', keyFile, path)
})

for (const { name, bytes, size, want } of [
    { name: 'the two copies alone where the metadata is not readable', bytes: forge({ text: () => '{' }), want: 32768 },
    { name: 'zeros where a device ends before', bytes: forge(), size: 100_000, want: 589_824 },
])
    test(`copied: ${name}`, (t) => t.is(copyWholeHeader(imageOf(t, bytes, size ?? 2_000_000)).length, want))

test('key slots that are too large to copy are refused', (t) => {
    const path = imageOf(t, forge({ set: { 'config.keyslots_size': String(64 * 1024 * 1024) } }), 4_000_000)
    t.throws(() => copyWholeHeader(path), { code: 'ERR_LUKS_AREA', message: /expected at most 33521664 bytes/ })
})

test('a key slot whose area is not in the copy has no digest', (t) =>
    void t.throws(() => headerDigest(forge(), KEY), { code: 'ERR_LUKS_AREA' }))
