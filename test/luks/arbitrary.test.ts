// Whatever the bytes are, they are judged: no exception, and no verdict without its checks.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import fc from 'fast-check'
import { checkHeader } from '#luks/check.ts'
import { forge, forgeText, goodMetadata } from './forge.ts'

const GOOD = forge()

/** Every path into the metadata: `segments`, `segments.0`, `segments.0.offset` and so on. */
const PATHS = pathsOf(goodMetadata())

test('bytes', (t) =>
    fc.assert(
        fc.property(fc.uint8Array({ maxLength: 40_000, size: 'max' }), (bytes) => {
            t.is(checkHeader(Buffer.from(bytes)).verdict, 'fail')
        }),
        { numRuns: 2000 },
    ))

test('a good header with some bytes exchanged: never accepted with another content', (t) =>
    fc.assert(
        fc.property(
            fc.array(fc.tuple(fc.nat(GOOD.length - 1), fc.integer({ min: 1, max: 255 })), {
                minLength: 1,
                maxLength: 4,
            }),
            (flips) => {
                const bytes = Buffer.from(GOOD)
                for (const [at, mask] of flips) bytes.writeUInt8(bytes.readUInt8(at) ^ mask, at)
                t.is(checkHeader(bytes).verdict, bytes.equals(GOOD) ? 'pass' : 'fail')
            },
        ),
        { numRuns: 2000 },
    ))

test('a good header that ends somewhere', (t) =>
    fc.assert(
        fc.property(fc.nat(GOOD.length - 1), (length) => {
            t.is(checkHeader(GOOD.subarray(0, length)).verdict, 'fail')
        }),
        { numRuns: 1000 },
    ))

test('a text in the JSON area under a checksum that holds', (t) =>
    fc.assert(
        fc.property(fc.oneof(fc.json(), fc.string({ maxLength: 1000 })), (text) => {
            t.is(checkHeader(forgeText(text)).verdict, 'fail')
        }),
        { numRuns: 2000 },
    ))

test('any member of the metadata replaced by any value, or taken away', (t) =>
    fc.assert(
        fc.property(
            fc.constantFrom(...PATHS),
            fc.option(fc.jsonValue({ maxDepth: 3 }), { nil: undefined }),
            (path, value) => {
                const { verdict, checks, volume } = checkHeader(forge({ set: { [path]: value } }))
                t.is(verdict === 'pass', volume !== null)
                t.is(
                    verdict === 'pass',
                    checks.every(({ name, result }) => result === 'pass' || name === 'uuid'),
                )
            },
        ),
        { numRuns: 4000, examples: [['segments.0.iv_tweak', { toString: false, wide: 2 ** 60 }]] },
    ))

function pathsOf(value: unknown): string[] {
    if (typeof value !== 'object' || value === null) return []
    return Object.entries(value).flatMap(([name, member]) => [
        name,
        ...pathsOf(member).map((path) => `${name}.${path}`),
    ])
}
