// AES-256-GCM: a published vector, and whatever is altered does not open.
// SPDX-License-Identifier: Apache-2.0

import { createSecretKey } from 'node:crypto'
import test from 'ava'
import { joined, open, parted, seal } from '#core/aead.ts'

// The Galois/Counter Mode of Operation (McGrew, Viega), appendix B, test case 16.
const hex = (text: string) => Buffer.from(text, 'hex')
const KEY = hex('feffe9928665731c6d6a8f9467308308'.repeat(2))
const ADDITIONAL = hex('feedfacedeadbeeffeedfacedeadbeefabaddad2')
const PLAINTEXT =
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39'
const IV = 'cafebabefacedbaddecaf888'
const CIPHERTEXT =
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662'
const TAG = '76fc6ece0f4e1768cddf8853bb2d551b'

test('the vector of its specification opens', (t) => {
    const bytes = hex(IV + CIPHERTEXT + TAG)
    for (const key of [KEY, createSecretKey(KEY)]) t.is(open(key, parted(bytes), ADDITIONAL).toString('hex'), PLAINTEXT)
})

for (const size of [0, 1, 15, 16, 17, 32, 100_000])
    test(`what is sealed opens, in one piece of 28 bytes more: ${size}`, (t) => {
        const plaintext = Buffer.alloc(size, 7)
        const bytes = joined(seal(KEY, plaintext, ADDITIONAL))
        t.is(bytes.length, size + 28)
        t.deepEqual(Buffer.from(open(KEY, parted(bytes), ADDITIONAL)), plaintext)
        t.notDeepEqual(joined(seal(KEY, plaintext, ADDITIONAL)), bytes, 'never twice the same')
    })

const good = hex(IV + CIPHERTEXT + TAG)

for (const { name, bytes = good, key = KEY, additional = ADDITIONAL } of [
    { name: 'the nonce', bytes: flipped(0) },
    { name: 'the ciphertext', bytes: flipped(12) },
    { name: 'the tag', bytes: flipped(good.length - 1) },
    { name: 'the key', key: Buffer.alloc(32) },
    { name: 'the additional data', additional: Buffer.from('other') },
    { name: 'no additional data', additional: Buffer.alloc(0) },
    { name: 'a tag that is cut', bytes: good.subarray(0, -1) },
    ...[0, 1, 12, 15, 16, 27, 28].map((size) => ({ name: `${size} bytes`, bytes: good.subarray(0, size) })),
] as { name: string; bytes?: Buffer; key?: Buffer; additional?: Buffer }[])
    test(`does not open: ${name}`, (t) => {
        t.throws(() => open(key, parted(bytes), additional))
    })

test('a tag of four bytes is not one', (t) => {
    const sealed = seal(KEY, hex(PLAINTEXT), ADDITIONAL)
    t.throws(() => open(KEY, { ...sealed, tag: sealed.tag.subarray(0, 4) }, ADDITIONAL), {
        message: /authentication tag/,
    })
})

function flipped(at: number): Buffer {
    const bytes = Buffer.from(good)
    bytes[at] = (bytes[at] ?? 0) ^ 1
    return bytes
}
