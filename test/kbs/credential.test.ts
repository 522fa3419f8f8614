// The file of a credential: what was written is read, and what is none is refused without a word of it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { fromBase64UrlBytes, toBase64UrlBytes } from '#core/bytes.ts'
import { formatCredential, makeCredential, parseCredential } from '#kbs/credential.ts'

test('what was written is read', (t) => {
    const credential = makeCredential('ops.night-1')
    const text = formatCredential(credential)
    t.regex(text.toString(), /^guest-attest-credential-1:ops\.night-1:[\w-]{43}\n$/)
    t.deepEqual(parseCredential(text, 'x'), credential)
    t.deepEqual(parseCredential(text.subarray(0, -1), 'x'), credential, 'without its line’s end')
})

const SECRET = 'A'.repeat(43)

for (const text of [
    '',
    'x',
    `guest-attest-credential-2:ops:${SECRET}`,
    `guest-attest-credential-1:ops:${SECRET.slice(1)}`,
    `guest-attest-credential-1:ops:${SECRET.slice(1)}B`,
    `guest-attest-credential-1:ops:${SECRET}A`,
    `guest-attest-credential-1:ops:${SECRET}\n\n`,
    `guest-attest-credential-1::${SECRET}`,
    `guest-attest-credential-1:a b:${SECRET}`,
    `guest-attest-credential-1:${SECRET}`,
])
    test(`no credential: ${JSON.stringify(text)}`, (t) => {
        const error = t.throws(() => parseCredential(Buffer.from(text), 'ops.credential'), {
            code: 'ERR_KBS_CREDENTIAL_FILE',
        })
        t.is(error.message, 'ops.credential: expected a line guest-attest-credential-1:NAME:SECRET')
    })

test('base64url of bytes in bytes is what Node makes of it, and back', (t) =>
    fc.assert(
        fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
            const text = toBase64UrlBytes(bytes)
            t.is(text.toString('ascii'), Buffer.from(bytes).toString('base64url'))
            t.deepEqual(Buffer.from(fromBase64UrlBytes(text) ?? []), Buffer.from(bytes))
        }),
    ))

for (const text of ['A', 'AB', 'AA=', 'AAB', 'AAA\n', 'A+AA', 'ABCDE'])
    test(`not base64url: ${JSON.stringify(text)}`, (t) => t.is(fromBase64UrlBytes(Buffer.from(text)), null))
