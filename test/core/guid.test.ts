// GUIDs: the order of their bytes, and what is none.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { guidBytes, guidText, NULL_GUID } from '#core/guid.ts'

for (const { text, hex } of [
    { text: '736869e5-84f0-4973-92ec-06879ce3da0b', hex: 'e5696873f084734992ec06879ce3da0b' },
    { text: '1e74f542-71dd-4d66-963e-ef4287ff173b', hex: '42f5741edd71664d963eef4287ff173b' },
    { text: NULL_GUID, hex: '0'.repeat(32) },
])
    test(`both ways: ${text}`, (t) => {
        t.is(guidBytes(text).toString('hex'), hex)
        t.is(guidBytes(text.toUpperCase()).toString('hex'), hex)
        t.is(guidText(Buffer.from(hex, 'hex')), text)
    })

for (const text of ['', '736869e584f0497392ec06879ce3da0b', '736869e5-84f0-4973-92ec-06879ce3da0b\n', 'x'.repeat(36)])
    test(`no GUID: ${JSON.stringify(text)}`, (t) => {
        t.throws(() => guidBytes(text), { code: 'ERR_ENCODING' })
    })

test('other lengths are none', (t) => {
    t.throws(() => guidText(Buffer.alloc(15)), { code: 'ERR_LENGTH' })
    t.throws(() => guidText(Buffer.alloc(17)), { code: 'ERR_LENGTH' })
})
