// Strict JSON: what JSON.parse would let through is refused.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { jcs } from '#core/jcs.ts'
import { memberText, parseJson, stringifyJson } from '#core/json.ts'

for (const { name, text, want } of [
    { name: 'a repeated key', text: '{"a":1,"a":2}', want: /the key "a" stands twice/ },
    { name: 'a repeated key, escaped', text: '{"a":1,"\\u0061":2}', want: /stands twice/ },
    { name: 'a repeated key behind much white space', text: `{"a":1,"a"${' '.repeat(5000)}:2}`, want: /stands twice/ },
    { name: 'a repeated key in a nested object', text: '[{"x":{"b":1,"b":1}}]', want: /stands twice/ },
    { name: '__proto__', text: '{"__proto__":{"admin":true}}', want: /__proto__/ },
    { name: 'depth', text: '['.repeat(33) + ']'.repeat(33), want: /nested deeper than 32/ },
    { name: 'size', text: `"${'x'.repeat(300 * 1024)}"`, want: /at most 262144/ },
    { name: 'very many values', text: `[${'0,'.repeat(70_000)}0]`, want: /more than 65536 values/ },
    { name: 'trailing text', text: '{} x', want: /not JSON/ },
    { name: 'nothing', text: '', want: /not JSON/ },
    { name: 'an open string', text: '{"a', want: /not JSON/ },
    {
        name: 'an integer without an end',
        text: `{"a":${'9'.repeat(200_000)}}`,
        want: /an integer of more than 40 digits/,
    },
    { name: 'the same, negative', text: `[-${'9'.repeat(41)}]`, want: /an integer of more than 40 digits/ },
    { name: 'an open string with a backslash at its end', text: '{"a\\', want: /not JSON/ },
    { name: 'a repeated key with an escaped quote', text: '{"a\\"":1,"b\\\\":2,"a\\"":3}', want: /stands twice/ },
])
    test(`refused: ${name}`, (t) =>
        void t.throws(() => parseJson(text, { title: 't' }), { code: 'ERR_JSON', message: want }))

test('bytes that are not UTF-8 are refused', (t) =>
    void t.throws(() => parseJson(Buffer.from([0x22, 0xff, 0x22]), { title: 't' }), {
        code: 'ERR_JSON',
        message: /UTF-8/,
    }))

test('an error never quotes the text: it may hold a secret', (t) => {
    const error = t.throws(() => parseJson('{"key":"hunter2" oops}', { title: 't' }))
    t.false(error?.message.includes('hunter2'))
})

// Where the time grew with the square of the length, this would run into the suite's time limit.
test('a long string of nothing but escapes is followed to its end, closed or open', (t) => {
    const text = `{"${'\\"'.repeat(2 ** 21)}`
    t.throws(() => parseJson(text, { title: 't', maxBytes: 2 ** 23 }), { code: 'ERR_JSON', message: /not JSON/ })
    t.notThrows(() => parseJson(`${text}":0}`, { title: 't', maxBytes: 2 ** 23 }))
})

test('equal keys in different objects are fine', (t) =>
    t.deepEqual(parseJson('{"a":{"b":1},"b":[{"b":1},{"b":1}],"c":"a"}', { title: 't' }), {
        a: { b: 1 },
        b: [{ b: 1 }, { b: 1 }],
        c: 'a',
    }))

test('wide integers keep their value both ways', (t) => {
    const value = parseJson('{"a":18446744073709551615,"b":-9007199254740993,"c":1.5e300,"d":7}', { title: 't' })
    t.deepEqual(value, { a: 18446744073709551615n, b: -9007199254740993n, c: 1.5e300, d: 7 })
    t.is(stringifyJson(value), '{"a":18446744073709551615,"b":-9007199254740993,"c":1.5e+300,"d":7}')
})

for (const { what, text, want } of [
    { what: 'an object', text: '{"a":{"b":[1,"}"]},"c":1}', want: '{"b":[1,"}"]}' },
    { what: 'spaces inside it', text: ' { "x" : 0 , "a" :\n { "b" : 1 } \n } ', want: '{ "b" : 1 }' },
    { what: 'a string with quotes and commas', text: '{"a":"x\\",\\"}","b":1}', want: '"x\\",\\"}"' },
    { what: 'a number at the end', text: '{"b":{"a":1},"a":2 }', want: '2' },
    { what: 'an array', text: '{"a":[{"a":1},[2,3]]}', want: '[{"a":1},[2,3]]' },
    { what: 'a value that reads as the name', text: '{"x":"a","a":"a"}', want: '"a"' },
    { what: 'a member further in', text: '{"b":{"a":1},"c":[{"a":2}]}', want: undefined },
    { what: 'a name written otherwise', text: '{"\\u0061":1}', want: undefined },
    { what: 'nothing', text: '{}', want: undefined },
])
    test(`the text of a member: ${what}`, (t) => {
        parseJson(text, { title: 't' })
        t.is(memberText(text, 'a'), want)
    })

test('the text of a member is what its value was written as', (t) =>
    fc.assert(
        fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), fc.nat(3), (others, value, indent) => {
            const text = JSON.stringify({ ...others, a: value }, null, indent)
            const own = memberText(text, 'a')
            t.deepEqual(JSON.parse(own ?? ''), JSON.parse(JSON.stringify(value)))
            t.is(own, own?.trim())
        }),
    ))

test('whatever JSON.stringify writes is read back', (t) =>
    fc.assert(
        fc.property(fc.json({ maxDepth: 5 }), (text) => {
            if (text.includes('__proto__')) return
            t.deepEqual(JSON.parse(stringifyJson(parseJson(text, { title: 't' }))), JSON.parse(text))
        }),
    ))

test('JCS orders members by UTF-16 code units (RFC 8785 §3.2.3)', (t) =>
    t.is(
        jcs({ '\u20ac': 'Euro', '\r': 'CR', '1': 'One', '\ud83d\ude00': 'Smiley' }),
        '{"\\r":"CR","1":"One","€":"Euro","😀":"Smiley"}',
    ))
