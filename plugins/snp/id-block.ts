// The ID block of an SNP guest, with which its owner says before launch what may be launched, and the ID authentication
// that signs it. AMD 56860 (SEV-SNP Firmware ABI), SNP_LAUNCH_FINISH: ID_BLOCK, ID_AUTH; AMD's form of ECDSA keys and
// signatures on P-384, whose numbers are little-endian. QEMU takes both as base64 (`id-block=`, `id-auth=`).
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { fromBase64Url, isZero, toBase64Url, toHex } from '#core/bytes.ts'
import { bytes, layout, type Parsed, struct, u32, u64, zero } from '#core/layout.ts'
import { snpError } from './errors.ts'

export const ID_BLOCK = layout('ID_BLOCK', 96, {
    launchDigest: bytes(0x00, 48),
    familyId: bytes(0x30, 16),
    imageId: bytes(0x40, 16),
    version: u32(0x50),
    guestSvn: u32(0x54),
    policy: u64(0x58),
})

export type IdBlock = Parsed<typeof ID_BLOCK.fields>

const NUMBER = 72
const COORDINATE = 48

const SIGNATURE = layout('signature', 0x200, {
    r: bytes(0, NUMBER),
    s: bytes(NUMBER, NUMBER),
    reserved: zero(0x90, 0x170),
})

const PUBLIC_KEY = layout('public key', 0x404, {
    curve: u32(0),
    x: bytes(4, NUMBER),
    y: bytes(4 + NUMBER, NUMBER),
    reserved: zero(0x94, 0x370),
})

export const ID_AUTH = layout('ID_AUTH', 0x1000, {
    idKeyAlgorithm: u32(0x000),
    authorKeyAlgorithm: u32(0x004),
    reserved008: zero(0x008, 0x038),
    idBlockSignature: struct(0x040, SIGNATURE),
    idKey: bytes(0x240, PUBLIC_KEY.size),
    reserved644: zero(0x644, 0x03c),
    idKeySignature: bytes(0x680, SIGNATURE.size),
    authorKey: bytes(0x880, PUBLIC_KEY.size),
    reservedc84: zero(0xc84, 0x37c),
})

/** ECDSA on P-384 with SHA-384. */
const ECDSA_P384 = 1
const CURVE_P384 = 2

/** The policy that owners mean who say none: SMT allowed, and the bit that is always one. */
export const DEFAULT_POLICY = 0x30000n

export interface IdPair {
    readonly block: Buffer
    readonly auth: Buffer
}

/** What a report of such a guest carries: IMAGE_ID and its like stand in the block. */
export interface IdDigests {
    /** SHA-384 of the key in AMD's form. */
    readonly idKeyDigest: Buffer
    /** Null: no author's key vouches for the ID key. */
    readonly authorKeyDigest: Buffer | null
}

/** Signs a block. @throws AttestError ERR_SNP_ID_BLOCK where a key is not one of P-384 */
export function makeIdPair(fields: Omit<IdBlock, 'version'>, idKey: KeyObject, authorKey: KeyObject | null): IdPair {
    const block = ID_BLOCK.encode({ ...fields, version: 1 })
    const key = encodePublicKey(idKey, 'the ID key')
    const auth = ID_AUTH.encode({
        idKeyAlgorithm: ECDSA_P384,
        authorKeyAlgorithm: authorKey ? ECDSA_P384 : 0,
        idBlockSignature: signed(block, idKey),
        idKey: key,
        idKeySignature: authorKey ? SIGNATURE.encode(signed(key, authorKey)) : Buffer.alloc(SIGNATURE.size),
        authorKey: authorKey ? encodePublicKey(authorKey, "the author's key") : Buffer.alloc(PUBLIC_KEY.size),
    })
    return { block, auth }
}

/** @throws AttestError ERR_LENGTH, ERR_SNP_ID_BLOCK */
export function readIdBlock(raw: Buffer): IdBlock {
    const block = ID_BLOCK.parse(raw)
    if (block.version === 1) return block
    throw snpError('ERR_SNP_ID_BLOCK', `version ${block.version} of an ID block is not supported: expected 1`)
}

/** Verifies what an authentication says of a block. @throws AttestError ERR_LENGTH, ERR_RESERVED, ERR_SNP_ID_BLOCK */
export function verifyIdPair({ block, auth }: IdPair): IdDigests {
    const { idKeyAlgorithm, authorKeyAlgorithm, idBlockSignature, idKey, idKeySignature, authorKey } =
        ID_AUTH.parse(auth)
    if (idKeyAlgorithm !== ECDSA_P384) throw refused(`the algorithm ${idKeyAlgorithm} of its ID key is unknown`)
    if (!verified(block, idBlockSignature, idKey, 'the ID key'))
        throw refused('the signature of the ID block does not verify with its ID key')
    const idKeyDigest = hash('sha384', idKey, 'buffer')
    if (authorKeyAlgorithm === 0 && isZero(authorKey)) return { idKeyDigest, authorKeyDigest: null }
    if (authorKeyAlgorithm !== ECDSA_P384)
        throw refused(`the algorithm ${authorKeyAlgorithm} of its author's key is unknown`)
    if (!verified(idKey, SIGNATURE.parse(idKeySignature), authorKey, "the author's key"))
        throw refused("the signature of the ID key does not verify with the author's key")
    return { idKeyDigest, authorKeyDigest: hash('sha384', authorKey, 'buffer') }
}

function signed(data: Buffer, key: KeyObject): Parsed<typeof SIGNATURE.fields> {
    const both = sign('sha384', data, { key, dsaEncoding: 'ieee-p1363' })
    return { r: little(both.subarray(0, COORDINATE)), s: little(both.subarray(COORDINATE)) }
}

function verified(data: Buffer, { r, s }: Parsed<typeof SIGNATURE.fields>, key: Buffer, what: string): boolean {
    const both = Buffer.concat([big(r, what), big(s, what)])
    return verify('sha384', data, { key: decodePublicKey(key, what), dsaEncoding: 'ieee-p1363' }, both)
}

function encodePublicKey(key: KeyObject, what: string): Buffer {
    const { crv, x = '', y = '' } = key.export({ format: 'jwk' })
    if (crv !== 'P-384') throw refused(`${what} is not one of P-384`)
    const coordinate = (text: string) => little(fromBase64Url(text, what, COORDINATE))
    return PUBLIC_KEY.encode({ curve: CURVE_P384, x: coordinate(x), y: coordinate(y) })
}

function decodePublicKey(raw: Buffer, what: string): KeyObject {
    const { curve, x, y } = PUBLIC_KEY.parse(raw)
    if (curve !== CURVE_P384) throw refused(`${what} is of the unknown curve ${curve}`)
    const coordinate = (number: Buffer) => toBase64Url(big(number, what))
    try {
        return createPublicKey({
            key: { kty: 'EC', crv: 'P-384', x: coordinate(x), y: coordinate(y) },
            format: 'jwk',
        })
    } catch (cause) {
        throw snpError('ERR_SNP_ID_BLOCK', `${what} ${toHex(x.subarray(0, 8))}… is no point of P-384`, { cause })
    }
}

// 48 bytes, most significant first, to 72, least significant first, and back.
const little = (number: Uint8Array): Buffer => Buffer.concat([Buffer.from(number).reverse(), Buffer.alloc(24)])

function big(number: Buffer, what: string): Buffer {
    if (isZero(number.subarray(COORDINATE))) return Buffer.from(number.subarray(0, COORDINATE)).reverse()
    throw refused(`a number of ${what} has more than 384 bits`)
}

const refused = (why: string) => snpError('ERR_SNP_ID_BLOCK', why)
