// OVMF's table of GUIDs: entries in any number, and tables that are refused.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { guidBytes } from '#core/guid.ts'
import { FOOTER_GUID, readOvmfTable } from '#core/ovmf-table.ts'

const ONE = '00f771de-1a7e-4fcb-890e-68c77e2fb44e'
const TWO = '7255371f-3a3b-4b04-927b-1da6efa8d454'

/** Whoever reads such an image has an error of its own. */
const bad = (why: string) => new RangeError(why)

const u16 = (value: number): Buffer => Buffer.of(value & 0xff, value >> 8)
const entry = (guid: string, data: Buffer, size = data.length + 18): Buffer =>
    Buffer.concat([data, u16(size), guidBytes(guid)])

/** An image of 256 bytes with this table, the reset vector behind it. */
function image(entries: Buffer, total = entries.length + 18): Buffer {
    const tail = Buffer.concat([entries, u16(total), guidBytes(FOOTER_GUID), Buffer.alloc(32)])
    return Buffer.concat([Buffer.alloc(256 - tail.length), tail])
}

test('entries by their GUIDs', (t) => {
    const data = Buffer.from('data')
    const both = Buffer.concat([entry(ONE, data), entry(TWO, Buffer.alloc(0))])
    t.deepEqual(
        [...(readOvmfTable(image(both), bad) ?? [])],
        [
            [TWO, Buffer.alloc(0)],
            [ONE, data],
        ],
    )
    t.is(readOvmfTable(image(Buffer.alloc(0)), bad)?.size, 0)
})

for (const size of [0, 17, 32, 49, 50, 256])
    test(`no table in ${size} bytes of zeros`, (t) => t.is(readOvmfTable(Buffer.alloc(size), bad), null))

const good = entry(ONE, Buffer.from('data'))

for (const { name, bytes, want } of [
    { name: 'longer than the image', bytes: image(good, 0xffff), want: /its length is 65535/ },
    { name: 'shorter than its own entry', bytes: image(good, 17), want: /its length is 17/ },
    { name: 'that begins within an entry', bytes: image(good, 18 + 10), want: /10 bytes are left/ },
    { name: 'with an entry that leaves it', bytes: image(entry(ONE, Buffer.alloc(4), 23)), want: /has the length 23/ },
    { name: 'with an entry without end', bytes: image(entry(ONE, Buffer.alloc(4), 0)), want: /has the length 0/ },
    { name: 'with an entry twice', bytes: image(Buffer.concat([good, good])), want: /stands twice/ },
])
    test(`refused: a table ${name}`, (t) => {
        t.throws(() => readOvmfTable(bytes, bad), { instanceOf: RangeError, message: want })
    })
