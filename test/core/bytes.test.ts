// Bytes and their text forms: the strict readers take what the writers make and nothing else; secrets can be wiped.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import {
    equalBytes,
    fromBase64,
    fromBase64Url,
    fromHex,
    isZero,
    secret,
    toBase64,
    toBase64Url,
    toHex,
    wantLength,
    wipe,
} from '#core/bytes.ts'

// RFC 4648 §10.
for (const { text, hex, base64, base64Url } of [
    { text: '', hex: '', base64: '', base64Url: '' },
    { text: 'f', hex: '66', base64: 'Zg==', base64Url: 'Zg' },
    { text: 'fo', hex: '666f', base64: 'Zm8=', base64Url: 'Zm8' },
    { text: 'foo', hex: '666f6f', base64: 'Zm9v', base64Url: 'Zm9v' },
    { text: 'foobar', hex: '666f6f626172', base64: 'Zm9vYmFy', base64Url: 'Zm9vYmFy' },
    { text: '\u00fb\u00ff', hex: 'fbff', base64: '+/8=', base64Url: '-_8' },
])
    test(`the forms of ${JSON.stringify(text)}`, (t) => {
        const bytes = Buffer.from(text, 'latin1')
        t.deepEqual([toHex(bytes), toBase64(bytes), toBase64Url(bytes)], [hex, base64, base64Url])
        t.deepEqual(fromHex(hex, 't'), bytes)
        t.deepEqual(fromHex(hex.toUpperCase(), 't'), bytes)
        t.deepEqual(fromBase64(base64, 't'), bytes)
        t.deepEqual(fromBase64Url(base64Url, 't'), bytes)
    })

for (const { form, read, refused } of [
    { form: 'hex', read: fromHex, refused: ['6', '666', '6g', '0x66', ' 66', '66\n', '66 6f', '66:6f', '６６'] },
    {
        form: 'base64',
        read: fromBase64,
        refused: ['Zg', 'Zg=', 'Zg===', 'Zh==', 'Zm9=', 'Zg==\n', 'Zm 8=', '-_8=', 'Z', '=', 'Zg==Zg==', '*', 'Zm９v'],
    },
    {
        form: 'base64url',
        read: fromBase64Url,
        refused: ['Zg==', 'Zm8=', 'Zh', 'Zm9v\n', 'Zm 8', '+/8', 'Z', 'Zm9vZ', '=', '.', 'Zm8\0'],
    },
] as const)
    for (const text of refused)
        test(`no ${form}: ${JSON.stringify(text)}`, (t) =>
            void t.throws(() => read(text, 'the field'), {
                code: 'ERR_ENCODING',
                message:
                    form === 'hex' ? 'the field: expected hex digits, two for each byte' : `the field: not ${form}`,
            }))

test('an error never quotes the text: it may hold a secret', (t) => {
    for (const read of [fromHex, fromBase64, fromBase64Url])
        t.false(t.throws(() => read('hunter2!', 'the field'))?.message.includes('hunter2'))
})

for (const { name, read } of [
    { name: 'hex', read: () => fromHex('6666', 'the field', 3) },
    { name: 'base64', read: () => fromBase64('Zmc=', 'the field', 3) },
    { name: 'base64url', read: () => fromBase64Url('Zmc', 'the field', 3) },
    { name: 'bytes', read: () => wantLength(Buffer.alloc(2), 3, 'the field') },
])
    test(`${name} of another length: expected and got`, (t) =>
        void t.throws(read, { code: 'ERR_LENGTH', message: 'the field: expected 3 bytes, got 2' }))

const someBytes = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))

test('whatever is written is read back, from a view of a larger buffer too', (t) =>
    fc.assert(
        fc.property(someBytes, fc.nat(8), (bytes, before) => {
            const within = Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(3, 1)])
            const part = new Uint8Array(within.buffer, within.byteOffset + before, bytes.length)
            t.deepEqual(fromHex(toHex(part), 't', bytes.length), bytes)
            t.deepEqual(fromBase64(toBase64(part), 't', bytes.length), bytes)
            t.deepEqual(fromBase64Url(toBase64Url(part), 't', bytes.length), bytes)
        }),
    ))

test('one text for the same bytes: what is read is what would be written', (t) => {
    const alphabet = fc.string({ unit: fc.constantFrom(...'AZaz09+/-_=', ' ', '\n'), maxLength: 12 })
    const readers = [
        [fromBase64, toBase64],
        [fromBase64Url, toBase64Url],
    ] as const
    fc.assert(
        fc.property(alphabet, (text) => {
            for (const [read, write] of readers) {
                let bytes: Buffer
                try {
                    bytes = read(text, 't')
                } catch {
                    continue
                }
                t.is(write(bytes), text)
            }
        }),
        { numRuns: 2000 },
    )
    t.pass()
})

test('a secret has memory of its own, and its source is wiped', (t) => {
    const source = Buffer.from('the key of the disk')
    const own = secret(source)
    t.is(own.toString(), 'the key of the disk')
    t.true(isZero(source))
    t.is(own.buffer.byteLength, own.length)
    t.not(own.buffer, source.buffer)
})

test('wipe: every buffer, and only the part that it was given', (t) => {
    const [one, two] = [Buffer.alloc(3, 7), Buffer.alloc(6, 7)]
    wipe(one, undefined, two.subarray(2, 4))
    t.is(toHex(one), '000000')
    t.is(toHex(two), '070700000707')
})

test('equal: the same bytes, and of the same length', (t) => {
    const bytes = Buffer.from('0102', 'hex')
    t.true(equalBytes(bytes, new Uint8Array([1, 2])))
    t.true(equalBytes(Buffer.alloc(0), Buffer.alloc(0)))
    for (const other of ['0103', '01', '010200', '']) t.false(equalBytes(bytes, Buffer.from(other, 'hex')), other)
})

// Longer than what is compared at a time.
test('zero: a single byte anywhere shows', (t) => {
    t.true(isZero(Buffer.alloc(0)))
    t.true(isZero(Buffer.alloc(10_000)))
    fc.assert(
        fc.property(
            fc.integer({ min: 1, max: 10_000 }),
            fc.nat(),
            fc.integer({ min: 1, max: 255 }),
            (size, at, byte) => {
                const bytes = Buffer.alloc(size)
                bytes[at % size] = byte
                t.false(isZero(bytes))
            },
        ),
    )
})
