// What a schema says against a value: named, on one line, and short whatever was sent.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import * as z from 'zod/mini'
import { shape } from '#core/schema.ts'

const NUMBERS = z.strictObject({ a: z.number(), b: z.record(z.string(), z.number()) })

test('members that do not fit are named with their paths', (t) => {
    t.deepEqual(shape(NUMBERS, { a: 1, b: { c: 2 } }, 'it'), { a: 1, b: { c: 2 } })
    t.throws(() => shape(NUMBERS, { a: 'x', b: { c: 'y' }, d: 1 }, 'it'), {
        code: 'ERR_JSON',
        message: /^it: a: Invalid input: .*; b\.c: .*; Unrecognized key: "d"$/,
    })
})

for (const { name, value } of [
    { name: 'unknown keys', value: Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`key ${i}`, i])) },
    { name: 'a long key', value: { a: 1, b: {}, ['x'.repeat(1_000_000)]: 1 } },
    { name: 'a long key of a record', value: { a: 1, b: { ['x'.repeat(1_000_000)]: '1' } } },
    { name: 'many that do not fit', value: { a: 1, b: Object.fromEntries(Array.from('abcdefghij', (k) => [k, k])) } },
])
    test(`what is said is short: ${name}`, (t) => {
        const { message = '' } = t.throws(() => shape(NUMBERS, value, 'it'), { code: 'ERR_JSON' }) ?? {}
        t.true(message.length < 1500, `${message.length}`)
        t.regex(message, /\d+ (?:more|characters)/)
    })
