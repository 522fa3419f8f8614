// Declarative layouts: round trips, and what a bad table or bad bytes say.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { bytes, layout, struct, text, u8, u16be, u32, u64, u64be, zero } from '#core/layout.ts'

const INNER = layout('INNER', 4, { a: u8(0), b: u8(1), c: u16be(2) })
const OUTER = layout('OUTER', 48, {
    word: u32(0),
    inner: struct(4, INNER),
    reserved: zero(8, 8),
    long: u64(16),
    longBe: u64be(24),
    blob: bytes(32, 8),
    name: text(40, 8),
})

test('encode and parse are inverse', (t) => {
    const u64s = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const values = fc.record({
        word: fc.integer({ min: 0, max: 0xffffffff }),
        inner: fc.record({ a: fc.nat(255), b: fc.nat(255), c: fc.nat(65535) }),
        long: u64s,
        longBe: u64s,
        blob: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((b) => Buffer.from(b)),
        name: fc.stringMatching(/^[ -~]{0,8}$/),
    })
    fc.assert(fc.property(values, (v) => t.deepEqual(OUTER.parse(OUTER.encode(v)), v)))
})

for (const { name, flip, want } of [
    { name: 'first reserved byte', flip: 8, want: '[0x8, +8) is reserved and must be zero, got 01 at 0x8' },
    { name: 'last reserved byte', flip: 15, want: 'got 01 at 0xf' },
])
    test(`reserved bytes: ${name}`, (t) => {
        const raw = Buffer.alloc(48)
        raw[flip] = 1
        const error = t.throws(() => OUTER.parse(raw), { code: 'ERR_RESERVED' })
        t.true(error?.message.includes(want), error?.message)
    })

test('text: nothing may follow its end, and it is ASCII', (t) => {
    const raw = Buffer.alloc(48)
    raw.write('ab\0c', 40)
    t.throws(() => OUTER.parse(raw), { code: 'ERR_RESERVED' })
    raw.fill(0xe9, 40, 48)
    t.throws(() => OUTER.parse(raw), { code: 'ERR_ENCODING' })
})

for (const size of [0, 47, 49])
    test(`length ${size} is refused`, (t) =>
        void t.throws(() => OUTER.parse(Buffer.alloc(size)), { code: 'ERR_LENGTH' }))

for (const { name, make, want } of [
    {
        name: 'a gap',
        make: () => layout('T', 8, { a: u32(0), b: u8(5) }),
        want: /T\.b: starts at 0x5, the field before ends at 0x4/,
    },
    { name: 'an overlap', make: () => layout('T', 8, { a: u32(0), b: u32(2) }), want: /T\.b: starts at 0x2/ },
    {
        name: 'a short table',
        make: () => layout('T', 8, { a: u32(0) }),
        want: /the fields end at 0x4, its size is 0x8/,
    },
])
    test(`${name} in a table throws when it is loaded`, (t) =>
        void t.throws(make, { instanceOf: TypeError, message: want }))
