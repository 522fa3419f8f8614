// Bit tables: every field at its place, both ways; what has no name is told; a table that is wrong does not load.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { type BitRow, bitTable } from '#core/bits.ts'

const WORD = bitTable('WORD', {
    low: { bits: [7, 0], means: '' },
    flag: { bits: 16, means: '' },
    lastOfLow: { bits: 31, means: '' },
    firstOfHigh: { bits: 32, means: '' },
    pair: { bits: [34, 33], means: '' },
    last: { bits: 63, means: '' },
})

const NONE = { low: 0, flag: false, lastOfLow: false, firstOfHigh: false, pair: 0, last: false }

for (const { word, want } of [
    { word: 0n, want: {} },
    { word: 0xffn, want: { low: 255 } },
    { word: 0x10000n, want: { flag: true } },
    { word: 0x80000000n, want: { lastOfLow: true } },
    { word: 0x100000000n, want: { firstOfHigh: true } },
    { word: 0x400000000n, want: { pair: 2 } },
    { word: 0x8000000000000000n, want: { last: true } },
])
    test(`0x${word.toString(16)} is read and written`, (t) => {
        t.deepEqual(WORD.read(word), { ...NONE, ...want })
        t.is(WORD.write(want), word)
    })

test('a number may be a whole half of the word', (t) => {
    const halves = bitTable('HALVES', { low: { bits: [31, 0], means: '' }, high: { bits: [63, 32], means: '' } })
    t.deepEqual(halves.read(0xfffffffe_80000001n), { low: 0x80000001, high: 0xfffffffe })
    t.is(halves.write({ low: 0x80000001, high: 0xfffffffe }), 0xfffffffe_80000001n)
})

test('bits without a name are left over', (t) => {
    t.is(WORD.unknown(0xffffffffffffffffn), 0x7ffffff87ffeff00n)
    t.is(WORD.unknown(0x80000007_800100ffn), 0n)
    t.is(WORD.unknown(1n << 64n), 1n << 64n)
})

for (const { name, table } of [
    { name: 'the same bit twice', table: { a: { bits: 3 }, b: { bits: 3 } } },
    { name: 'a flag inside a number', table: { a: { bits: [7, 0] }, b: { bits: 4 } } },
    { name: 'a number across the middle', table: { a: { bits: [32, 31] } } },
    { name: 'a bit behind the word', table: { a: { bits: 64 } } },
    { name: 'a number whose ends are swapped', table: { a: { bits: [0, 7] } } },
] as { name: string; table: Record<string, Omit<BitRow, 'means'>> }[])
    test(`does not load: ${name}`, (t) => {
        const rows = Object.fromEntries(Object.entries(table).map(([key, row]) => [key, { ...row, means: '' }]))
        t.throws(() => bitTable('T', rows), { instanceOf: TypeError, message: /^T\.[ab]: / })
    })

/** Tables whose fields cover random parts of both halves. */
const tables = fc
    .tuple(fc.uniqueArray(fc.nat(32), { minLength: 2 }), fc.uniqueArray(fc.nat(32), { minLength: 2 }))
    .map(([low, high]) => {
        const rows: Record<string, BitRow> = {}
        for (const [base, cuts] of [
            [0, low],
            [32, high],
        ] as const) {
            const ends = cuts.toSorted((a, b) => a - b)
            for (let i = 1; i < ends.length; i++) {
                const [from, to] = [base + (ends[i - 1] ?? 0), base + (ends[i] ?? 0) - 1]
                rows[`f${from}`] = { bits: from === to ? from : [to, from], means: '' }
            }
        }
        return rows
    })

test('any table: each field is its bits of the word, and the word comes back', (t) =>
    fc.assert(
        fc.property(tables, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (rows, word) => {
            const bits = bitTable('T', rows)
            const values = bits.read(word)
            for (const [name, { bits: place }] of Object.entries(rows)) {
                const [high, low] = typeof place === 'number' ? [place, place] : place
                const want = Number((word >> BigInt(low)) & (2n ** BigInt(high - low + 1) - 1n))
                t.is(Number(values[name]), want)
            }
            t.is(bits.write(values) | bits.unknown(word), word)
            t.is(bits.write(values) & bits.unknown(word), 0n)
        }),
    ))
