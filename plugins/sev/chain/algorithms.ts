// Keys and signatures as SEV's certificates and reports carry them: numbers little-endian in fields of fixed size.
// AMD 55766 (Secure Encrypted Virtualization API).
// SPDX-License-Identifier: Apache-2.0

import { constants, createPublicKey, type KeyObject, type SigningOptions, sign, verify } from 'node:crypto'
import { isZero } from '#core/bytes.ts'
import { sevError } from '../errors.ts'

/** What a key may do, by its number in a certificate. */
export const ALGORITHMS = {
    RSA_SHA256: { id: 0x001, kind: 'rsa', hash: 'sha256' },
    ECDSA_SHA256: { id: 0x002, kind: 'ec', hash: 'sha256' },
    ECDH_SHA256: { id: 0x003, kind: 'ec', hash: null },
    RSA_SHA384: { id: 0x101, kind: 'rsa', hash: 'sha384' },
    ECDSA_SHA384: { id: 0x102, kind: 'ec', hash: 'sha384' },
    ECDH_SHA384: { id: 0x103, kind: 'ec', hash: null },
} as const satisfies Record<string, { id: number; kind: 'rsa' | 'ec'; hash: 'sha256' | 'sha384' | null }>

export type AlgorithmName = keyof typeof ALGORITHMS

/** The name of an algorithm, or null. */
export function algorithmOf(id: number): AlgorithmName | null {
    const found = Object.entries(ALGORITHMS).find(([, row]) => row.id === id)
    return found ? (found[0] as AlgorithmName) : null
}

/** A digest's size, which is the salt's, too. */
const SALT = { sha256: 32, sha384: 48 } as const

/** Curves by their numbers, with the size of a coordinate. */
const CURVES = {
    1: { crv: 'P-256', name: 'prime256v1', size: 32 },
    2: { crv: 'P-384', name: 'secp384r1', size: 48 },
} as const satisfies Record<number, { crv: string; name: string; size: number }>

export const P384 = 2

/** Every number of a key or a signature on a curve has a field of this size. */
const FIELD = 72

/** r and s. */
export const EC_SIGNATURE_SIZE = 2 * FIELD

/** A key on a curve: u32 curve, qx, qy; nothing but zeros behind. @throws AttestError ERR_SEV_CERTIFICATE */
export function parseEcKey(bytes: Buffer, title: string): KeyObject {
    const id = bytes.readUInt32LE(0)
    const curve = CURVES[id as keyof typeof CURVES]
    if (!curve) throw sevError('ERR_SEV_CERTIFICATE', `${title}: the curve ${id} is not known`)
    const x = readNumber(bytes.subarray(4, 4 + FIELD), curve.size, `${title}: qx`)
    const y = readNumber(bytes.subarray(4 + FIELD, 4 + 2 * FIELD), curve.size, `${title}: qy`)
    if (!isZero(bytes.subarray(4 + 2 * FIELD)))
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: something stands behind the public key`)
    return makeKey({ kty: 'EC', crv: curve.crv, x: x.toString('base64url'), y: y.toString('base64url') }, title)
}

/** The other way, for a key on P-384. */
export function encodeEcKey(key: KeyObject, size: number): Buffer {
    const { crv, x = '', y = '' } = key.export({ format: 'jwk' })
    if (crv !== CURVES[P384].crv) throw new TypeError(`expected a key on P-384, got ${crv}`)
    const out = Buffer.alloc(size)
    out.writeUInt32LE(P384, 0)
    out.set(littleEndian(Buffer.from(x, 'base64url')), 4)
    out.set(littleEndian(Buffer.from(y, 'base64url')), 4 + FIELD)
    return out
}

/** An RSA key of numbers that are little-endian, of 2048 or 4096 bits. @throws AttestError ERR_SEV_CERTIFICATE */
export function parseRsaKey(exponent: Buffer, modulus: Buffer, title: string): KeyObject {
    const n = Buffer.from(modulus).reverse()
    const e = Buffer.from(exponent).reverse()
    // No other key was ever published: an exponent of 1 would make any bytes a signature.
    if (!e.subarray(0, -3).every((byte) => byte === 0) || e.readUIntBE(e.length - 3, 3) !== 65_537)
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: the exponent is not 65537`)
    if (((n[0] ?? 0) & 0x80) === 0 || ((n.at(-1) ?? 0) & 1) === 0)
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: the modulus is none of ${n.length * 8} bits`)
    return makeKey({ kty: 'RSA', n: n.toString('base64url'), e: 'AQAB' }, title)
}

/** Whether this key made the signature of the field, by that algorithm. A key of another kind did not. */
export function verifySignature(data: Uint8Array, field: Buffer, algorithm: AlgorithmName, key: KeyObject): boolean {
    const { kind, hash } = ALGORITHMS[algorithm]
    if (hash === null || key.asymmetricKeyType !== kind) return false
    const value = kind === 'rsa' ? rsaSignature(field, key) : ecSignature(field, key)
    try {
        return value !== null && verify(hash, data, parametersOf(algorithm, key), value)
    } catch {
        return false // OpenSSL refuses some signatures by an error
    }
}

/** A signature in its field of `size` bytes, for what is minted. */
export function makeSignature(data: Uint8Array, size: number, algorithm: AlgorithmName, key: KeyObject): Buffer {
    const { kind, hash } = ALGORITHMS[algorithm]
    if (hash === null || key.asymmetricKeyType !== kind) throw new TypeError(`${algorithm}: no such signature`)
    const value = sign(hash, data, parametersOf(algorithm, key))
    const out = Buffer.alloc(size)
    if (kind === 'rsa') out.set(littleEndian(value))
    else {
        out.set(littleEndian(value.subarray(0, value.length / 2)))
        out.set(littleEndian(value.subarray(value.length / 2)), FIELD)
    }
    return out
}

function parametersOf(algorithm: AlgorithmName, key: KeyObject): SigningOptions & { key: KeyObject } {
    const { kind, hash } = ALGORITHMS[algorithm]
    if (kind === 'ec') return { key, dsaEncoding: 'ieee-p1363' }
    return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: SALT[hash] }
}

function rsaSignature(field: Buffer, key: KeyObject): Buffer | null {
    const size = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8
    if (field.length < size || !isZero(field.subarray(size))) return null
    return Buffer.from(field.subarray(0, size)).reverse()
}

function ecSignature(field: Buffer, key: KeyObject): Buffer | null {
    const curve = Object.values(CURVES).find(({ name }) => name === key.asymmetricKeyDetails?.namedCurve)
    if (!curve || field.length < EC_SIGNATURE_SIZE || !isZero(field.subarray(EC_SIGNATURE_SIZE))) return null
    const numbers = [field.subarray(0, FIELD), field.subarray(FIELD, EC_SIGNATURE_SIZE)]
    if (numbers.some((number) => !isZero(number.subarray(curve.size)))) return null
    return Buffer.concat(numbers.map((number) => littleEndian(number.subarray(0, curve.size))))
}

function readNumber(field: Buffer, size: number, title: string): Buffer {
    if (isZero(field.subarray(size))) return littleEndian(field.subarray(0, size))
    throw sevError('ERR_SEV_CERTIFICATE', `${title} has more than ${size} bytes`)
}

/** A copy with the bytes in the other order. */
const littleEndian = (bytes: Uint8Array): Buffer => Buffer.from(bytes).reverse()

function makeKey(key: Record<string, string>, title: string): KeyObject {
    try {
        return createPublicKey({ key, format: 'jwk' })
    } catch (cause) {
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: the public key is none`, { cause })
    }
}
