// Messages of protobuf: those of protoc's own making, what is left out, and what is refused.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { AttestError } from '#core/errors.ts'
import { bytes, int64, message, nested, string, uint32 } from '#core/protobuf.ts'

const INNER = message('inner', { code: uint32(1), text: string(2) })
const IT = message('it', {
    name: string(1),
    data: bytes(2),
    count: uint32(3),
    time: int64(16),
    inner: nested(5, INNER),
})
const EMPTY = { name: '', data: Buffer.alloc(0), count: 0, time: 0n, inner: null }

const parse = (hex: string) => IT.parse(Buffer.from(hex, 'hex'))

// The example of the format's own documentation: field 1 is 150, and field 2 "testing".
test('the documented examples', (t) => {
    t.deepEqual(message('a', { a: uint32(1) }).parse(Buffer.from('089601', 'hex')), { a: 150 })
    t.deepEqual(
        message('b', { b: string(2) })
            .encode({ b: 'testing' })
            .toString('hex'),
        '120774657374696e67',
    )
    t.is(message('c', { c: int64(1) }).parse(Buffer.from('08feffffffffffffffff01', 'hex')).c, -2n)
})

for (const { name, hex, want } of [
    { name: 'nothing', hex: '', want: {} },
    { name: 'each field', hex: '0a0161120100180580010a2a0208072a', want: null },
    { name: 'a number above 15', hex: '80010a', want: { time: 10n } },
    {
        name: 'fields that nobody knows, of each kind',
        hex: '3001390102030405060708420161450102030418020a0161',
        want: { count: 2, name: 'a' },
    },
    { name: 'a message within, empty', hex: '2a00', want: { inner: { code: 0, text: '' } } },
    { name: 'a number in more bytes than it needs', hex: '18828000', want: { count: 2 } },
    { name: 'a byte order mark is a character', hex: '0a03efbbbf', want: { name: '\ufeff' } },
])
    test(`parse: ${name}`, (t) => {
        if (want) t.deepEqual(parse(hex), { ...EMPTY, ...want })
        else t.throws(() => parse(hex), { code: 'ERR_ENCODING' })
    })

for (const { name, hex, says } of [
    { name: 'no end of a number', hex: '1880', says: /0 are left/ },
    { name: 'no number behind a tag', hex: '18', says: /0 are left/ },
    { name: 'a number of eleven bytes', hex: '188080808080808080808001', says: /more than 64 bits/ },
    { name: 'a number of 65 bits', hex: '18ffffffffffffffffff03', says: /more than 64 bits/ },
    { name: 'a number of 33 bits', hex: '188080808010', says: /it\.count: .* more than 32 bits/ },
    { name: 'bytes that are not there', hex: '12050102', says: /a field of 5 bytes at 2, and 2 are left/ },
    { name: 'bytes without end', hex: '12ffffffffffffffffff01', says: /are left/ },
    { name: 'a field without number', hex: '0001', says: /no field has the number 0/ },
    { name: 'a field with too large a number', hex: '808080801001', says: /no field has the number/ },
    { name: 'a group', hex: '0b', says: /wire type 3/ },
    { name: 'the end of a group', hex: '0c', says: /wire type 4/ },
    { name: 'wire type 7', hex: '0f', says: /wire type 7/ },
    { name: 'half of a fixed number', hex: '310102', says: /a field of 8 bytes/ },
    { name: 'a field twice', hex: '18011801', says: /it\.count: malformed: it stands twice/ },
    { name: 'a number for text', hex: '0801', says: /it\.name: malformed: expected bytes/ },
    { name: 'text for a number', hex: '1a0161', says: /it\.count: malformed: expected a number/ },
    { name: 'a fixed number for a number', hex: '1d01020304', says: /expected a number/ },
    { name: 'text that is none', hex: '0a02c328', says: /it\.name: malformed: it is not UTF-8/ },
    { name: 'a message within that is none', hex: '2a0108', says: /inner: malformed/ },
])
    test(`refused: ${name}`, (t) => {
        t.throws(() => parse(hex), { code: 'ERR_ENCODING', message: says })
    })

test('what is encoded is parsed again', (t) => {
    const inner = fc.record({ code: fc.nat(0xffff_ffff), text: fc.string({ unit: 'grapheme' }) })
    const it = fc.record({
        name: fc.string({ unit: 'grapheme' }),
        data: fc.uint8Array().map((array) => Buffer.from(array)),
        count: fc.nat(0xffff_ffff),
        time: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        inner: fc.option(inner),
    })
    fc.assert(fc.property(it, (values) => t.deepEqual(IT.parse(IT.encode(values)), values)))
    t.is(IT.encode(EMPTY).length, 0)
})

test('whatever the bytes, nothing crashes', (t) => {
    fc.assert(
        fc.property(fc.uint8Array({ maxLength: 60 }), (array) => {
            try {
                IT.parse(array)
            } catch (error) {
                if (!(error instanceof AttestError)) throw error
            }
        }),
        { numRuns: 10_000 },
    )
    t.pass()
})

test('a table with one number twice is a mistake', (t) => {
    t.throws(() => message('m', { a: uint32(1), b: uint32(1) }), { instanceOf: TypeError })
})
