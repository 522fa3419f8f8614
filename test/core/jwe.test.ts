// JWE: the published vector, the C program `jose` on the other side of both forms, and what must not open.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { decryptWith, ecJwk, encryptDirect, encryptTo, type FlattenedJwe, importEcJwk, parseDirect } from '#core/jwe.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { programs, VECTORS, vectors } from '../machine.ts'
import { needs } from '../needs.ts'

interface Vector {
    readonly tee_private_d_hex: string
    readonly tee_pubkey: { kty: 'EC'; crv: 'P-256'; alg: 'ECDH-ES+A256KW'; x: string; y: string }
    readonly plaintext: string
    readonly response: FlattenedJwe
}

const VECTOR = 'kbs/own/kbs-0.4.0-selfmade.json'
const readVector = (): Vector => JSON.parse(readFileSync(join(VECTORS, VECTOR), 'utf8')) as Vector

needs(vectors(VECTOR))('the deterministic vector opens', (t) => {
    const { tee_private_d_hex, tee_pubkey, plaintext, response } = readVector()
    const { alg: _, ...jwk } = tee_pubkey
    const d = Buffer.from(tee_private_d_hex, 'hex').toString('base64url')
    const key = createPrivateKey({ key: { ...jwk, d }, format: 'jwk' })
    t.is(decryptWith(key, response).toString(), plaintext)
})

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const sealed = encryptTo(keys.publicKey, Buffer.from('a disk key'))

test('sealed to a key, it opens with that key', (t) =>
    fc.assert(
        fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
            const jwe = encryptTo(importEcJwk(ecJwk(keys.publicKey)), bytes)
            t.deepEqual(Buffer.from(decryptWith(keys.privateKey, jwe)), Buffer.from(bytes))
        }),
        { numRuns: 30 },
    ))

test('the members stand in the order that peers encode again', (t) => {
    t.deepEqual(Object.keys(sealed), ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'])
    const header = Buffer.from(sealed.protected, 'base64url').toString()
    t.regex(
        header,
        /^\{"alg":"ECDH-ES\+A256KW","enc":"A256GCM","epk":\{"crv":"P-256","kty":"EC","x":"[\w-]{43}","y":"[\w-]{43}"\}\}$/,
    )
})

const withHeader = (header: unknown): FlattenedJwe => ({
    ...sealed,
    protected: Buffer.from(JSON.stringify(header)).toString('base64url'),
})
const header = JSON.parse(Buffer.from(sealed.protected, 'base64url').toString()) as Record<string, unknown>

for (const { name, jwe, key, code } of [
    {
        name: 'another key',
        jwe: sealed,
        key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
        code: 'ERR_JWE',
    },
    { name: 'a changed tag', jwe: { ...sealed, tag: randomBytes(16).toString('base64url') }, code: 'ERR_JWE' },
    { name: 'a short tag', jwe: { ...sealed, tag: randomBytes(12).toString('base64url') }, code: 'ERR_LENGTH' },
    {
        name: 'a changed ciphertext',
        jwe: { ...sealed, ciphertext: randomBytes(10).toString('base64url') },
        code: 'ERR_JWE',
    },
    {
        name: 'a changed key',
        jwe: { ...sealed, encrypted_key: randomBytes(40).toString('base64url') },
        code: 'ERR_JWE',
    },
    { name: 'a header with other bytes', jwe: withHeader({ ...header, x: 1 }), code: 'ERR_JWE' },
    { name: 'another key algorithm', jwe: withHeader({ ...header, alg: 'dir' }), code: 'ERR_JWE' },
    { name: 'another content algorithm', jwe: withHeader({ ...header, enc: 'A128GCM' }), code: 'ERR_JWE' },
    { name: 'a critical extension', jwe: withHeader({ ...header, crit: ['exp'], exp: 1 }), code: 'ERR_JWE' },
    {
        name: 'an ephemeral key off the curve',
        jwe: withHeader({
            ...header,
            epk: {
                kty: 'EC',
                crv: 'P-256',
                x: Buffer.alloc(32, 1).toString('base64url'),
                y: Buffer.alloc(32, 1).toString('base64url'),
            },
        }),
        code: 'ERR_JWE',
    },
    { name: 'no ephemeral key', jwe: withHeader({ alg: header['alg'], enc: header['enc'] }), code: 'ERR_JWE' },
    { name: 'two ephemeral keys', jwe: { ...sealed, header: { epk: header['epk'] } }, code: 'ERR_JWE' },
    { name: 'unprotected members', jwe: { ...sealed, header: { zip: 'DEF' } }, code: 'ERR_JWE' },
    { name: 'a header that is no JSON', jwe: { ...sealed, protected: 'AAAA' }, code: 'ERR_JSON' },
    { name: 'padding where none may be', jwe: { ...sealed, iv: `${sealed.iv}=` }, code: 'ERR_ENCODING' },
] satisfies { name: string; jwe: FlattenedJwe; key?: typeof keys.privateKey; code: string }[])
    test(`flattened, refused: ${name}`, (t) => void t.throws(() => decryptWith(key ?? keys.privateKey, jwe), { code }))

const secretKey = randomBytes(32)
const compact = encryptDirect(secretKey, { clevis: { pin: 'x' } }, Buffer.from('passphrase'))
const [h = '', , iv = '', ciphertext = '', tag = ''] = compact.split('.')

test('compact: what was sealed opens, and its header is read before', (t) => {
    const { header, open } = parseDirect(compact)
    t.deepEqual(header, { alg: 'dir', enc: 'A256GCM', clevis: { pin: 'x' } })
    t.is(open(secretKey).toString(), 'passphrase')
})

for (const { name, text, code } of [
    { name: 'cut in the tag', text: compact.slice(0, -3), code: /ERR_LENGTH|ERR_ENCODING/ },
    { name: 'without its tag', text: `${h}..${iv}.${ciphertext}.`, code: /ERR_JWE/ },
    { name: 'four parts', text: `${h}..${iv}.${ciphertext}`, code: /ERR_JWE/ },
    { name: 'six parts', text: `${compact}.AAAA`, code: /ERR_JWE/ },
    { name: 'an encrypted key where `dir` has none', text: `${h}.AAAA.${iv}.${ciphertext}.${tag}`, code: /ERR_JWE/ },
    { name: 'nothing', text: '', code: /ERR_JWE/ },
    {
        name: 'another header',
        text: `${Buffer.from('{"alg":"dir","enc":"A256GCM"}').toString('base64url')}..${iv}.${ciphertext}.${tag}`,
        code: /ERR_JWE/,
    },
])
    test(`compact, refused: ${name}`, (t) => {
        const error = t.throws(() => parseDirect(text).open(secretKey))
        t.regex((error as { code?: string }).code ?? '', code)
    })

const josePresent = needs(programs('jose'))

josePresent('jose (C) opens what is sealed to a key', async (t) => {
    const folder = temporaryFolder(t)
    const jwk = join(folder, 'key.jwk')
    writeFileSync(jwk, JSON.stringify({ ...keys.privateKey.export({ format: 'jwk' }), alg: 'ECDH-ES+A256KW' }))
    const ran = await run('jose', ['jwe', 'dec', '-i', '-', '-k', jwk], { input: JSON.stringify(sealed) })
    t.is(ran.code, 0, ran.stderr)
    t.is(ran.stdout, 'a disk key')
})

josePresent('what jose (C) seals to a key opens', async (t) => {
    const folder = temporaryFolder(t)
    const jwk = join(folder, 'pub.jwk')
    writeFileSync(jwk, JSON.stringify(ecJwk(keys.publicKey)))
    const template = '{"protected":{"alg":"ECDH-ES+A256KW","enc":"A256GCM"}}'
    const ran = await run('jose', ['jwe', 'enc', '-i', template, '-k', jwk, '-I', '-'], { input: 'from C' })
    t.is(ran.code, 0, ran.stderr)
    t.is(decryptWith(keys.privateKey, JSON.parse(ran.stdout) as FlattenedJwe).toString(), 'from C')
})

josePresent('jose (C) opens the compact form, and the other way round', async (t) => {
    const folder = temporaryFolder(t)
    const jwk = join(folder, 'oct.jwk')
    writeFileSync(jwk, JSON.stringify({ kty: 'oct', k: secretKey.toString('base64url') }))
    const opened = await run('jose', ['jwe', 'dec', '-i', '-', '-k', jwk], { input: compact })
    t.is(opened.stdout, 'passphrase', opened.stderr)
    const template = '{"protected":{"alg":"dir","enc":"A256GCM","clevis":{"pin":"x"}}}'
    const made = await run('jose', ['jwe', 'enc', '-c', '-i', template, '-k', jwk, '-I', '-'], { input: 'by C' })
    t.is(parseDirect(made.stdout.trim()).open(secretKey).toString(), 'by C', made.stderr)
})
