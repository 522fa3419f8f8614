// ID blocks and their authentication: what is made verifies, and nothing else does. Those of another tool stand in
// test/cli/measure-manifest.test.ts.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, hash, randomBytes, randomInt } from 'node:crypto'
import test from 'ava'
import { AttestError } from '#core/errors.ts'
import { type IdPair, makeIdPair, readIdBlock, verifyIdPair } from '#plugins/snp/id-block.ts'

const key = () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
const [idKey, authorKey] = [key(), key()]
const fields = {
    launchDigest: Buffer.alloc(48, 1),
    familyId: Buffer.alloc(16, 2),
    imageId: Buffer.alloc(16, 3),
    guestSvn: 4,
    policy: 0x30000n,
}
const pair = makeIdPair(fields, idKey, authorKey)
const KEY_AT = 0x240
const KEY_SIZE = 0x404

test('what is made says what was asked for, and verifies', (t) => {
    t.deepEqual(readIdBlock(pair.block), { ...fields, version: 1 })
    const { idKeyDigest, authorKeyDigest } = verifyIdPair(pair)
    t.deepEqual(idKeyDigest, hash('sha384', pair.auth.subarray(KEY_AT, KEY_AT + KEY_SIZE), 'buffer'))
    t.not(authorKeyDigest, null)
})

test('no author need vouch for the key', (t) => {
    const alone = makeIdPair(fields, idKey, null)
    t.deepEqual(verifyIdPair(alone).idKeyDigest, verifyIdPair(pair).idKeyDigest)
    t.is(verifyIdPair(alone).authorKeyDigest, null)
})

const flip = ({ block, auth }: IdPair, part: keyof IdPair, at: number): IdPair => {
    const flipped = { block: Buffer.from(block), auth: Buffer.from(auth) }
    flipped[part].writeUInt8(flipped[part].readUInt8(at) ^ 1, at)
    return flipped
}

for (const [name, part, at, code] of [
    ['the digest', 'block', 0, 'ERR_SNP_ID_BLOCK'],
    ['the policy', 'block', 0x58, 'ERR_SNP_ID_BLOCK'],
    ['the version', 'block', 0x50, 'ERR_SNP_ID_BLOCK'],
    ['the algorithm of the ID key', 'auth', 0, 'ERR_SNP_ID_BLOCK'],
    ['the algorithm of the author', 'auth', 4, 'ERR_SNP_ID_BLOCK'],
    ['reserved bytes', 'auth', 8, 'ERR_RESERVED'],
    ['r of the block', 'auth', 0x40, 'ERR_SNP_ID_BLOCK'],
    ['s of the block, beyond 384 bits', 'auth', 0x40 + 72 + 60, 'ERR_SNP_ID_BLOCK'],
    ['bytes behind a signature', 'auth', 0x40 + 0x1ff, 'ERR_RESERVED'],
    ['the curve', 'auth', KEY_AT, 'ERR_SNP_ID_BLOCK'],
    ['x of the ID key', 'auth', KEY_AT + 4, 'ERR_SNP_ID_BLOCK'],
    ['bytes between keys', 'auth', 0x650, 'ERR_RESERVED'],
    ['r of the key', 'auth', 0x680, 'ERR_SNP_ID_BLOCK'],
    ['y of the author', 'auth', 0x880 + 4 + 72, 'ERR_SNP_ID_BLOCK'],
    ['the last byte', 'auth', 0xfff, 'ERR_RESERVED'],
] as const)
    test(`refused: a bit of ${name}`, (t) => {
        t.throws(
            () => {
                const flipped = flip(pair, part, at)
                readIdBlock(flipped.block)
                verifyIdPair(flipped)
            },
            { code },
        )
    })

test('refused: other lengths, and keys of another curve', (t) => {
    t.throws(() => readIdBlock(pair.block.subarray(1)), { code: 'ERR_LENGTH' })
    t.throws(() => verifyIdPair({ ...pair, auth: pair.auth.subarray(1) }), { code: 'ERR_LENGTH' })
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    t.throws(() => makeIdPair(fields, p256, null), { code: 'ERR_SNP_ID_BLOCK', message: /not one of P-384/ })
})

test('10 000 random pairs', (t) => {
    const mangled = (bytes: Buffer): Buffer => {
        if (randomInt(8) === 0) return randomBytes(randomInt(2 * bytes.length))
        const copy = Buffer.from(bytes)
        for (let changes = randomInt(1, 4); changes > 0; changes--) copy[randomInt(copy.length)] = randomInt(256)
        return copy
    }
    let refused = 0
    for (let i = 0; i < 10_000; i++)
        try {
            const [block, auth] = i % 2 === 0 ? [pair.block, mangled(pair.auth)] : [mangled(pair.block), pair.auth]
            readIdBlock(block)
            // Two signatures each: as long as the rest of a thousand.
            if (i % 10 < 2) verifyIdPair({ block, auth })
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            refused++
        }
    t.true(refused > 2000, `${refused}`)
})
