// The pin of SEV: its header, its key, and what it refuses before it reads a secret.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { parseSevBinding, sevJweKey } from '#clevis/sev-header.ts'
import { decryptSev, encryptSev, type Injected } from '#clevis/sev-pin.ts'
import { secret } from '#core/bytes.ts'
import type { AttestError } from '#core/errors.ts'
import { encryptDirect, parseDirect } from '#core/jwe.ts'
import { driverError } from '#drivers/errors.ts'
import { CLIENT_GUID } from '#plugins/sev/client-secret.ts'
import { temporaryFolder } from '#test/folder.ts'

const GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'
const CONFIG = JSON.stringify({ guid: GUID })
const KEY = Buffer.alloc(32, 0xfe)

const holding =
    (bytes: Uint8Array, asked: string[] = []): Injected =>
    async (guid, use) => {
        asked.push(guid)
        return use(secret(Buffer.from(bytes)))
    }
const never: Injected = async (): Promise<never> => {
    throw new Error('asked')
}

test('what was sealed opens, whatever the bytes', async (t) =>
    fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
            const injected = holding(randomBytes(32))
            const opened = await decryptSev(await encryptSev(CONFIG, bytes, injected), injected)
            t.deepEqual(Buffer.from(opened), Buffer.from(bytes))
        }),
        { numRuns: 30 },
    ))

test('the header is the written format; the secret that it names is asked for', async (t) => {
    const asked: string[] = []
    const upper = JSON.stringify({ guid: GUID.toUpperCase() })
    const jwe = await encryptSev(upper, Buffer.from('x'), holding(KEY, asked))
    const { header } = parseDirect(jwe)
    const { salt, ...rest } = (header['clevis'] as { sev: Record<string, unknown> }).sev
    t.deepEqual({ ...header, clevis: rest }, { alg: 'dir', enc: 'A256GCM', clevis: { v: 1, guid: GUID } })
    t.regex(String(salt), /^[\w-]{43}$/)
    await decryptSev(jwe, holding(KEY, asked))
    t.deepEqual(asked, [GUID, GUID])
})

/** By another program: HMAC-SHA-256 of Python's hmac module, as RFC 5869 says. */
const HKDF_VECTOR = '75096f833a4de86204a824b76e29fcb0a25a10ed82727e4447a05545daf5b205'

test('the key is HKDF of the secret, bound to salt and GUID', (t) => {
    const key = (guid: string, salt = Buffer.alloc(32)): string =>
        sevJweKey(secret(Buffer.from(KEY)), { guid, salt }).toString('hex')
    t.is(key(GUID), HKDF_VECTOR)
    t.not(key(GUID.replace('5', '6')), HKDF_VECTOR)
    t.not(key(GUID, Buffer.alloc(32, 1)), HKDF_VECTOR)
})

const folder = temporaryFolder({ teardown: test.after.always })
const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
}

test('a key file takes the place of the guest, and is not stored', async (t) => {
    const owned = randomBytes(32)
    const config = JSON.stringify({ guid: GUID, key_file: file('key', owned) })
    const jwe = await encryptSev(config, Buffer.from('x'), never)
    t.false(Buffer.from(jwe.split('.')[0] ?? '', 'base64url').includes('key_file'))
    t.is((await decryptSev(jwe, holding(owned))).toString(), 'x')
    const wrong = await t.throwsAsync<AttestError>(decryptSev(jwe, holding(KEY)), { code: 'ERR_JWE' })
    t.regex(wrong.hint ?? '', /is not the one that this was bound with/)
    const nowhere = async () => {
        throw driverError('ERR_NO_TEE', 'no guest')
    }
    const outside = await t.throwsAsync<AttestError>(encryptSev(CONFIG, Buffer.from('x'), nowhere), {
        code: 'ERR_NO_TEE',
    })
    t.regex(outside.hint ?? '', /no guest that was launched with it, name its file: .*key_file/)
    const named = await t.throwsAsync<AttestError>(encryptSev('{"guid":"luks-key"}', Buffer.from('x'), never))
    t.regex(named.hint ?? '', /is the passphrase of a disk itself/)
})

for (const { name, config, code } of [
    { name: 'no GUID', config: '{}', code: 'ERR_CLEVIS_CONFIG' },
    { name: 'a name', config: '{"guid":"luks-key"}', code: 'ERR_CLEVIS_CONFIG' },
    { name: 'the key of a launch', config: JSON.stringify({ guid: CLIENT_GUID }), code: 'ERR_CLEVIS_CONFIG' },
    { name: 'a path', config: '{"guid":"../../lsm"}', code: 'ERR_CLEVIS_CONFIG' },
    { name: 'another member', config: JSON.stringify({ guid: GUID, url: 'https://a' }), code: 'ERR_CLEVIS_CONFIG' },
    { name: 'no JSON', config: GUID, code: 'ERR_JSON' },
    {
        name: 'a key file of text',
        config: JSON.stringify({ guid: GUID, key_file: file('text', 'correct horse battery staple 123') }),
        code: 'ERR_CLEVIS_KEY_FILE',
    },
    {
        name: 'a short key file',
        config: JSON.stringify({ guid: GUID, key_file: file('short', randomBytes(31)) }),
        code: 'ERR_CLEVIS_KEY_FILE',
    },
    {
        name: 'a key file that is not there',
        config: JSON.stringify({ guid: GUID, key_file: join(folder, 'none') }),
        code: 'ERR_NOT_FOUND_FILE',
    },
])
    test(`encrypt refuses: ${name}`, async (t) =>
        void (await t.throwsAsync(encryptSev(config, Buffer.from('x'), never), { code })))

for (const { name, bytes } of [
    { name: 'a passphrase', bytes: Buffer.from('correct horse battery staple 123') },
    { name: 'a zero byte behind it', bytes: Buffer.concat([KEY, Buffer.alloc(1)]) },
    { name: 'nothing', bytes: Buffer.alloc(0) },
])
    test(`no secret that is not 32 random bytes: ${name}`, async (t) => {
        const jwe = await encryptSev(CONFIG, Buffer.from('x'), holding(Buffer.alloc(32, 0xfe)))
        await t.throwsAsync(encryptSev(CONFIG, Buffer.from('x'), holding(bytes)), { code: 'ERR_CLEVIS_KEY_FILE' })
        await t.throwsAsync(decryptSev(jwe, holding(bytes)), { code: 'ERR_CLEVIS_KEY_FILE' })
    })

for (const { name, member } of [
    { name: 'the other pin', member: { pin: 'kbs', sev: { v: 1, guid: GUID, salt: 'A'.repeat(43) } } },
    { name: 'a path', member: { pin: 'sev', sev: { v: 1, guid: '../../lsm', salt: 'A'.repeat(43) } } },
    { name: 'the key of a launch', member: { pin: 'sev', sev: { v: 1, guid: CLIENT_GUID, salt: 'A'.repeat(43) } } },
    { name: 'another version', member: { pin: 'sev', sev: { v: 2, guid: GUID, salt: 'A'.repeat(43) } } },
    { name: 'a member more', member: { pin: 'sev', sev: { v: 1, guid: GUID, salt: 'A'.repeat(43), url: 'a' } } },
    { name: 'no salt', member: { pin: 'sev', sev: { v: 1, guid: GUID } } },
])
    test(`decrypt refuses a header, and reads no secret: ${name}`, async (t) => {
        const jwe = encryptDirect(KEY, { clevis: member }, Buffer.from('x'))
        await t.throwsAsync(decryptSev(jwe, never), { code: 'ERR_CLEVIS_HEADER' })
    })

test('a header with members that nobody knows is refused', (t) =>
    void t.throws(() => parseSevBinding({ alg: 'dir', enc: 'A256GCM', kid: 'a' }), { code: 'ERR_CLEVIS_HEADER' }))
