// Canonical JSON: the examples of RFC 8785, and what has no canonical form.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { jcs } from '#core/jcs.ts'
import { parseJson } from '#core/json.ts'

test('the example of §3.2.2: literals, numbers and escapes', (t) =>
    t.is(
        jcs(
            JSON.parse(String.raw`{
                "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                "literals": [null, true, false]
            }`),
        ),
        String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    ))

test('the example of §3.2.3: names in the order of their UTF-16 code units', (t) =>
    t.is(
        jcs({
            '\u20ac': 'Euro Sign',
            '\r': 'Carriage Return',
            '\ufb33': 'Hebrew Letter Dalet With Dagesh',
            '1': 'One',
            '\ud83d\ude00': 'Emoji: Grinning Face',
            '\u0080': 'Control',
            '\u00f6': 'Latin Small Letter O With Diaeresis',
        }),
        '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",' +
            '"\u20ac":"Euro Sign","\ud83d\ude00":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
    ))

// Appendix B: the bits of a double, and its text.
for (const { bits, want } of [
    { bits: 0x0000000000000000n, want: '0' },
    { bits: 0x8000000000000000n, want: '0' },
    { bits: 0x0000000000000001n, want: '5e-324' },
    { bits: 0x8000000000000001n, want: '-5e-324' },
    { bits: 0x7fefffffffffffffn, want: '1.7976931348623157e+308' },
    { bits: 0xffefffffffffffffn, want: '-1.7976931348623157e+308' },
    { bits: 0x4340000000000000n, want: '9007199254740992' },
    { bits: 0xc340000000000000n, want: '-9007199254740992' },
    { bits: 0x4430000000000000n, want: '295147905179352830000' },
    { bits: 0x44b52d02c7e14af5n, want: '9.999999999999997e+22' },
    { bits: 0x44b52d02c7e14af6n, want: '1e+23' },
    { bits: 0x44b52d02c7e14af7n, want: '1.0000000000000001e+23' },
    { bits: 0x444b1ae4d6e2ef4en, want: '999999999999999700000' },
    { bits: 0x444b1ae4d6e2ef4fn, want: '999999999999999900000' },
    { bits: 0x444b1ae4d6e2ef50n, want: '1e+21' },
    { bits: 0x3eb0c6f7a0b5ed8cn, want: '9.999999999999997e-7' },
    { bits: 0x3eb0c6f7a0b5ed8dn, want: '0.000001' },
    { bits: 0x41b3de4355555553n, want: '333333333.3333332' },
    { bits: 0x41b3de4355555554n, want: '333333333.33333325' },
    { bits: 0x41b3de4355555555n, want: '333333333.3333333' },
    { bits: 0x41b3de4355555556n, want: '333333333.3333334' },
    { bits: 0x41b3de4355555557n, want: '333333333.33333343' },
    { bits: 0xbecbf647612f3696n, want: '-0.0000033333333333333333' },
    { bits: 0x43143ff3c1cb0959n, want: '1424953923781206.2' },
])
    test(`the number ${want} (0x${bits.toString(16)})`, (t) => {
        const bytes = Buffer.alloc(8)
        bytes.writeBigUInt64BE(bits)
        t.is(jcs(bytes.readDoubleBE()), want)
    })

for (const { name, text } of [
    { name: 'an integer that a double cannot hold', text: '{"a":18446744073709551615}' },
    { name: 'a number out of range', text: '[1e999]' },
    { name: 'half of a surrogate pair', text: String.raw`"\ud83d"` },
    { name: 'half of a surrogate pair as a name', text: String.raw`{"\ude00":1}` },
])
    test(`no canonical form: ${name}`, (t) =>
        void t.throws(() => jcs(parseJson(text, { title: 't' })), { code: 'ERR_JSON', message: /canonical/ }))

for (const { name, value } of [
    { name: 'nothing', value: undefined },
    { name: 'a function', value: () => 1 },
])
    test(`a programmer's mistake: ${name}`, (t) => void t.throws(() => jcs(value), { instanceOf: TypeError }))

const shuffled = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(shuffled)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
        Object.entries(value)
            .toReversed()
            .map(([name, v]) => [name, shuffled(v)]),
    )
}

test('the order of members changes nothing, and the canonical text is its own', (t) =>
    fc.assert(
        fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
            if (!JSON.stringify(value).isWellFormed() || JSON.stringify(value).includes('__proto__')) return
            const text = jcs(value)
            t.is(jcs(shuffled(value)), text)
            t.is(jcs(JSON.parse(text)), text)
            t.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
        }),
    ))
