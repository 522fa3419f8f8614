// The pin's own half: its header, its key, and what it refuses before it asks anybody.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { jweKey, parseBinding } from '#clevis/header.ts'
import { decrypt, encrypt, type Release } from '#clevis/pin.ts'
import { secret } from '#core/bytes.ts'
import { encryptDirect, parseDirect } from '#core/jwe.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import { temporaryFolder } from '#test/folder.ts'

const resource = Buffer.alloc(32, 0x4b)
const givenThe =
    (bytes: Uint8Array): Release =>
    async (_request, use) =>
        use({ key: secret(Buffer.from(bytes)), version: null, asked: null })
const release: Release = async (request, use) => givenThe(resource)(request, use)
const never: Release = async (): Promise<never> => {
    throw new Error('asked')
}
const CONFIG = '{"url":"https://kbs.example:8443","path":"default/luks/web-1"}'

test('what was sealed opens, whatever the bytes', async (t) =>
    fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
            const opened = await decrypt(await encrypt(CONFIG, bytes, release), release)
            t.deepEqual(Buffer.from(opened), Buffer.from(bytes))
        }),
        { numRuns: 30 },
    ))

test('the header is the written format', async (t) => {
    const { header } = parseDirect(await encrypt(CONFIG, Buffer.from('x'), release))
    const { salt, ...rest } = (header['clevis'] as { kbs: Record<string, unknown> }).kbs
    t.deepEqual(Object.keys(header), ['alg', 'enc', 'clevis'])
    t.deepEqual(
        { ...header, clevis: rest },
        {
            alg: 'dir',
            enc: 'A256GCM',
            clevis: { v: 1, servers: ['https://kbs.example:8443'], path: 'default/luks/web-1' },
        },
    )
    t.regex(String(salt), /^[\w-]{43}$/)
    t.is((header['clevis'] as { pin: string }).pin, 'kbs')
})

// Written by version 0.1: what opened with it opens for ever. Its resource is 32 bytes of 0x4b.
const FIXTURE =
    'eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwiY2xldmlzIjp7InBpbiI6ImticyIsImticyI6eyJ2IjoxLCJzZXJ2ZXJzIjpbImh0dHBzOi8va2JzLmV4YW1wbGU6ODQ0MyJdLCJwYXRoIjoiZGVmYXVsdC9sdWtzL3dlYi0xIiwic2FsdCI6IkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUEifX19..Kjaw26OWLlxgkI2U.QV-OpJZxjlGrvy-ERjTC.nYXoaoHi8q45OARJG-HxFQ'

test('the key is HKDF of the resource, bound to salt and path', (t) => {
    const salt = Buffer.alloc(32)
    const key = (path: string, of: Buffer = salt): string =>
        jweKey(secret(Buffer.from(resource)), { salt: of, path: parseResourcePath(path) }).toString('hex')
    t.is(key('default/luks/web-1'), HKDF_VECTOR)
    t.not(key('default/luks/web-2'), HKDF_VECTOR)
    t.not(key('default/luks/web-1', Buffer.alloc(32, 1)), HKDF_VECTOR)
})

const HKDF_VECTOR = 'ac5d234ae4d5be15da41fa0f3effce2c907886668540c5be59b0c1d01db8366d'

test('a fixture of version 0.1 opens', async (t) =>
    t.is((await decrypt(FIXTURE, release)).toString(), 'opened with 0.1'))

const folder = temporaryFolder({ teardown: test.after.always })
const keyFile = join(folder, 'key')
const owned = Buffer.alloc(32, 0xfe)
writeFileSync(keyFile, owned)
const textFile = join(folder, 'text')
writeFileSync(textFile, 'correct horse battery staple 123')
const shortFile = join(folder, 'short')
writeFileSync(shortFile, 'too short')

test('a key file takes the place of the broker, and is not stored', async (t) => {
    const jwe = await encrypt(JSON.stringify({ ...JSON.parse(CONFIG), key_file: keyFile }), Buffer.from('x'), never)
    t.false(
        Buffer.from(jwe.split('.')[0] ?? '', 'base64url')
            .toString()
            .includes('key_file'),
    )
    t.is((await decrypt(jwe, givenThe(owned))).toString(), 'x')
})

for (const { name, config, code } of [
    { name: 'no JSON', config: 'kbs.example', code: 'ERR_JSON' },
    { name: 'a key twice', config: '{"url":"https://a","url":"https://b","path":"a/b/c"}', code: 'ERR_JSON' },
    { name: 'no path', config: '{"url":"https://kbs.example"}', code: 'ERR_CLEVIS_CONFIG' },
    { name: 'no broker', config: '{"path":"a/b/c"}', code: 'ERR_CLEVIS_CONFIG' },
    {
        name: 'url and servers',
        config: '{"url":"https://a","servers":["https://b"],"path":"a/b/c"}',
        code: 'ERR_CLEVIS_CONFIG',
    },
    { name: 'an unknown member', config: '{"url":"https://a","path":"a/b/c","pin":"x"}', code: 'ERR_CLEVIS_CONFIG' },
    { name: 'a path of four names', config: '{"url":"https://a","path":"a/b/c/d"}', code: 'ERR_KBS_URI' },
    { name: 'a path that climbs', config: '{"url":"https://a","path":"a/../c"}', code: 'ERR_KBS_URI' },
    { name: 'an address with a path', config: '{"url":"https://a/b","path":"a/b/c"}', code: 'ERR_URL' },
    {
        name: 'a key file of another size',
        config: JSON.stringify({ ...JSON.parse(CONFIG), key_file: shortFile }),
        code: 'ERR_CLEVIS_KEY_FILE',
    },
    {
        name: 'a key file that somebody has typed',
        config: JSON.stringify({ ...JSON.parse(CONFIG), key_file: textFile }),
        code: 'ERR_CLEVIS_KEY_FILE',
    },
    {
        name: 'a key file that is not there',
        config: JSON.stringify({ ...JSON.parse(CONFIG), key_file: join(folder, 'none') }),
        code: 'ERR_NOT_FOUND_FILE',
    },
])
    test(`encrypt, refused: ${name}`, async (t) =>
        void (await t.throwsAsync(encrypt(config, Buffer.from('x'), never), { code })))

const kbs = {
    v: 1,
    servers: ['https://kbs.example:8443'],
    path: 'default/luks/web-1',
    salt: Buffer.alloc(32).toString('base64url'),
}

for (const { name, header, code } of [
    { name: 'another pin', header: { clevis: { pin: 'tang', tang: {} } }, code: 'ERR_CLEVIS_HEADER' },
    { name: 'a later version', header: { clevis: { pin: 'kbs', kbs: { ...kbs, v: 2 } } }, code: 'ERR_CLEVIS_HEADER' },
    {
        name: 'an unknown member',
        header: { clevis: { pin: 'kbs', kbs: { ...kbs, trust: 'me' } } },
        code: 'ERR_CLEVIS_HEADER',
    },
    { name: 'a member beside clevis', header: { kid: 'x', clevis: { pin: 'kbs', kbs } }, code: 'ERR_CLEVIS_HEADER' },
    { name: 'no clevis at all', header: {}, code: 'ERR_CLEVIS_HEADER' },
    { name: 'no servers', header: { clevis: { pin: 'kbs', kbs: { ...kbs, servers: [] } } }, code: 'ERR_CLEVIS_HEADER' },
    {
        name: 'nine servers',
        header: { clevis: { pin: 'kbs', kbs: { ...kbs, servers: Array(9).fill('https://a') } } },
        code: 'ERR_CLEVIS_HEADER',
    },
    { name: 'a short salt', header: { clevis: { pin: 'kbs', kbs: { ...kbs, salt: 'AAAA' } } }, code: 'ERR_LENGTH' },
])
    test(`decrypt, refused before anybody is asked: ${name}`, async (t) => {
        const jwe = encryptDirect(Buffer.alloc(32), header, Buffer.from('x'))
        await t.throwsAsync(decrypt(jwe, never), { code })
    })

test('another resource does not open it', async (t) => {
    const other = givenThe(Buffer.alloc(32, 1))
    await t.throwsAsync(decrypt(await encrypt(CONFIG, Buffer.from('x'), release), other), { code: 'ERR_JWE' })
})

test('origins are normal in the parsed header', (t) =>
    t.deepEqual(
        parseBinding({ clevis: { pin: 'kbs', kbs: { ...kbs, servers: ['https://KBS.example:8443/'] } } }).servers,
        ['https://kbs.example:8443'],
    ))
