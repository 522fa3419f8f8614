// AMD's own certificates of SEV: ARK, the root, and ASK, which signs the chips' keys. AMD 55766 (Secure Encrypted
// Virtualization API): a head of 64 bytes, exponent, modulus, signature; little-endian, 832 bytes (Naples) or 1600.
// SPDX-License-Identifier: Apache-2.0

import { hash, type KeyObject } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { bytes, layout, u32, zero } from '#core/layout.ts'
import { sevError } from '../errors.ts'
import { type AlgorithmName, parseRsaKey, verifySignature } from './algorithms.ts'
import { USAGES } from './certs.ts'

const HEAD = layout('AMD certificate', 64, {
    version: u32(0),
    keyId: bytes(4, 16),
    certifyingId: bytes(20, 16),
    usage: u32(36),
    reserved: zero(40, 16),
    exponentBits: u32(56),
    modulusBits: u32(60),
})

const VERSION = 1

/** By the size of the issuer's key. */
const SIGNS: Readonly<Record<number, AlgorithmName>> = { 2048: 'RSA_SHA256', 4096: 'RSA_SHA384' }

export interface AmdCertificate {
    readonly usage: 'ARK' | 'ASK'
    /** Hex. */
    readonly keyId: string
    readonly certifyingId: string
    readonly publicKey: KeyObject
    readonly bits: number
    /** The first byte behind it. */
    readonly size: number
    readonly body: Buffer
    readonly signature: Buffer
}

/** Whether one of AMD's own begins here, as far as its head says. */
export const isAmdCertificate = (from: Buffer): boolean =>
    from.length >= HEAD.size && from.readUInt32LE(0) === VERSION && usageOf(from.readUInt32LE(36)) !== null

/**
 * The certificate at the beginning of these bytes; what follows is not looked at.
 * @throws AttestError ERR_LENGTH, ERR_RESERVED, ERR_SEV_CERTIFICATE
 */
export function parseAmdCertificate(raw: Buffer): AmdCertificate {
    const title = 'AMD certificate'
    const head = HEAD.parse(raw.subarray(0, HEAD.size))
    const { usage: id, version, modulusBits: bits, exponentBits } = head
    if (version !== VERSION)
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: expected version ${VERSION}, got ${version}`)
    const usage = usageOf(id)
    if (!usage) throw sevError('ERR_SEV_CERTIFICATE', `expected a certificate of ARK or ASK, got 0x${id.toString(16)}`)
    if (!SIGNS[bits] || exponentBits !== bits)
        throw sevError('ERR_SEV_CERTIFICATE', `${usage}: expected a key of 2048 or 4096 bits, got ${bits}`)
    const field = bits / 8
    const size = HEAD.size + 3 * field
    if (raw.length < size)
        throw sevError('ERR_SEV_CERTIFICATE', `${usage}: expected ${size} bytes, got ${raw.length}`, {
            hint: 'what AMD publishes for Naples lacks the signature: leave the file out, its key is known',
        })
    const [exponent, modulus, signature] = [0, 1, 2].map((at) =>
        Buffer.from(raw.subarray(HEAD.size + at * field, HEAD.size + (at + 1) * field)),
    ) as [Buffer, Buffer, Buffer]
    return {
        usage,
        keyId: toHex(head.keyId),
        certifyingId: toHex(head.certifyingId),
        publicKey: parseRsaKey(exponent, modulus, usage),
        bits,
        size,
        body: Buffer.from(raw.subarray(0, HEAD.size + 2 * field)),
        signature,
    }
}

const usageOf = (id: number): AmdCertificate['usage'] | null =>
    id === USAGES.ARK ? 'ARK' : id === USAGES.ASK ? 'ASK' : null

/** Whether this key has signed it. */
export function isIssuedBy(certificate: AmdCertificate, issuer: KeyObject): boolean {
    const algorithm = SIGNS[issuer.asymmetricKeyDetails?.modulusLength ?? 0]
    return algorithm !== undefined && verifySignature(certificate.body, certificate.signature, algorithm, issuer)
}

/** What is signed of a certificate for this key, for what is minted; a key's id is the beginning of its digest. */
export function encodeAmdCertificate(usage: 'ARK' | 'ASK', subject: KeyObject, issuer: KeyObject): Buffer {
    const n = modulusOf(subject)
    const bits = n.length * 8
    const exponent = Buffer.alloc(n.length)
    exponent.writeUInt32LE(65_537)
    const [keyId, certifyingId] = [n, modulusOf(issuer)].map((id) => hash('sha256', id, 'buffer').subarray(0, 16)) as [
        Buffer,
        Buffer,
    ]
    const head = { version: VERSION, keyId, certifyingId, usage: USAGES[usage], exponentBits: bits, modulusBits: bits }
    return Buffer.concat([HEAD.encode(head), exponent, Buffer.from(n).reverse()])
}

const modulusOf = (key: KeyObject): Buffer => Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url')
