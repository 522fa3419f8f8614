// The tables of a firmware image: read as they stand, and refused where they are malformed.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { AttestError } from '#core/errors.ts'
import { guidBytes } from '#core/guid.ts'
import {
    FOOTER_GUIDS,
    hashArea,
    readFirmware,
    readFooter,
    resetAddress,
    secretArea,
    sevMetadata,
} from '#core/launch/ovmf.ts'
import { firmware, SECTIONS, words } from './firmware.ts'

const read = (image: Buffer) => readFirmware(image, 'fw')

test('what a firmware says of its launch', (t) => {
    const known = read(firmware({ entries: [[FOOTER_GUIDS.secretArea, words(0x810000, 0xc00)]] }))
    t.is(resetAddress(known), 0x80b004)
    t.deepEqual(hashArea(known), { base: 0x810c00, size: 0x400 })
    t.deepEqual(secretArea(known), { base: 0x810000, size: 0xc00 })
    t.deepEqual(
        sevMetadata(known)?.map(({ type, base, size }) => [type, base, size]),
        SECTIONS.map((row) => [...row]),
    )
})

test('what a firmware was built without', (t) => {
    const plain = read(firmware({ sections: null, hashArea: [0, 0] }))
    t.is(hashArea(plain), null)
    t.is(secretArea(plain), null)
    t.is(sevMetadata(plain), null)
    t.is(readFooter(Buffer.alloc(0x1000)), null)
    t.is(readFooter(Buffer.alloc(0)), null)
    t.throws(() => resetAddress(read(Buffer.alloc(0x1000))), { code: 'ERR_FIRMWARE_LACKS', message: /no SEV-ES reset/ })
    t.throws(() => resetAddress(read(firmware({ reset: 0 }))), { code: 'ERR_FIRMWARE_LACKS', message: /address 0/ })
})

test('the oldest images have the reset block alone', (t) => {
    const image = Buffer.alloc(0x1000)
    image.set(
        Buffer.concat([words(0xfff12345), Buffer.from([22, 0]), guidBytes(FOOTER_GUIDS.resetBlock)]),
        0x1000 - 32 - 22,
    )
    t.is(resetAddress(read(image)), 0xfff12345)
})

for (const [name, image, message] of [
    ['a table that is malformed', firmware({ tableLength: 0 }), /fw is malformed: the table .* its length is 0/],
    [
        'an entry of another size',
        firmware({ hashArea: [1, 2], entries: [[FOOTER_GUIDS.secretArea, words(1)]] }),
        /has 4 bytes/,
    ],
    ['another version of the metadata', firmware({ version: 2 }), /version 2 is not supported/],
    ['an unknown section', firmware({ sections: [[7, 0x1000, 0x1000]] }), /unknown type 0x7/],
    ['a section of no size', firmware({ sections: [['SEC_MEM', 0x1000, 0]] }), /no whole pages/],
    ['a section between pages', firmware({ sections: [['SEC_MEM', 0x1800, 0x1000]] }), /no whole pages/],
    ['a section beyond 4 GiB', firmware({ sections: [['SEC_MEM', 0xfffff000, 0x2000]] }), /below 4 GiB/],
    ['secrets of two pages', firmware({ sections: [['SECRETS', 0x1000, 0x2000]] }), /expected one page/],
    [
        'hashes that stand twice',
        firmware({
            sections: [
                ['KERNEL_HASHES', 0x1000, 0x1000],
                ['KERNEL_HASHES', 0x2000, 0x1000],
            ],
        }),
        /stands twice/,
    ],
    ['sections without end', firmware({ sections: [['SEC_MEM', 0, 0x20000000]] }), /pages: at most/],
    [
        'too many sections',
        firmware({ sections: Array.from({ length: 65 }, () => ['SEC_MEM', 0, 0x1000] as const) }),
        /65 sections/,
    ],
] as const)
    test(`refused: ${name}`, (t) => {
        const all = () => {
            const known = read(image)
            return [sevMetadata(known), hashArea(known), secretArea(known), resetAddress(known)]
        }
        t.throws(all, { code: 'ERR_FIRMWARE', message })
    })

test('metadata that is elsewhere, or not there', (t) => {
    for (const back of [0, 15, 0x5000, 0xffffffff]) {
        const image = firmware({ sections: null, entries: [[FOOTER_GUIDS.sevMetadata, words(back)]] })
        t.throws(() => sevMetadata(read(image)), { code: 'ERR_FIRMWARE', message: /before its end/ })
    }
    const image = firmware({ sections: null, entries: [[FOOTER_GUIDS.sevMetadata, words(0x900)]] })
    t.throws(() => sevMetadata(read(image)), { code: 'ERR_FIRMWARE', message: /no ASEV/ })
})

test('whatever stands at the end of a file, the answer is one of ours', (t) => {
    const image = firmware({ entries: [[FOOTER_GUIDS.secretArea, words(0x810000, 0xc00)]] })
    const change = fc.record({
        at: fc.integer({ min: 0x3800 - 0x20, max: 0x3fff }),
        value: fc.integer({ min: 0, max: 255 }),
    })
    fc.assert(
        fc.property(
            fc.array(change, { maxLength: 6 }),
            fc.option(fc.integer({ min: 0, max: 0x4000 })),
            (changes, from) => {
                const broken = Buffer.from(image)
                for (const { at, value } of changes) broken[at] = value
                const known = () => read(broken.subarray(from ?? 0))
                for (const ask of [resetAddress, hashArea, secretArea, sevMetadata])
                    try {
                        ask(known())
                    } catch (error) {
                        if (!(error instanceof AttestError)) throw error
                    }
            },
        ),
        { numRuns: 10_000 },
    )
    t.pass()
})
