// JSON Web Encryption, the two forms that this program speaks (RFC 7516, RFC 7518):
//   - flattened JSON, ECDH-ES+A256KW on P-256 with A256GCM: what a key broker answers to an attested guest;
//   - compact, dir with A256GCM: what the clevis pin stores in a LUKS header.
// Over node:crypto, because peers written in Rust decode the protected header and encode it again before they
// check the tag: its members must stand in their order (alg, enc, then by name; epk: crv, kty, x, y).
// SPDX-License-Identifier: Apache-2.0

import {
    createCipheriv,
    createDecipheriv,
    createHash,
    createPublicKey,
    diffieHellman,
    generateKeyPairSync,
    type KeyObject,
    randomBytes,
} from 'node:crypto'
import { IV_SIZE, open, seal, TAG_SIZE } from './aead.ts'
import { fromBase64Url, type Secret, secret, toBase64Url, wipe } from './bytes.ts'
import { AttestError, coreError } from './errors.ts'
import { parseJson } from './json.ts'

export interface FlattenedJwe {
    readonly protected: string
    /** Members that are not protected, as the C implementation writes its ephemeral key. */
    readonly header?: Readonly<Record<string, unknown>> | undefined
    readonly encrypted_key: string
    readonly iv: string
    readonly ciphertext: string
    readonly tag: string
}

/** A public P-256 key with exactly the members that the peer hashes: no more, no less. */
export interface EcJwk {
    readonly kty: 'EC'
    readonly crv: 'P-256'
    readonly alg: typeof KEY_WRAP_ALG
    readonly x: string
    readonly y: string
}

export const KEY_WRAP_ALG = 'ECDH-ES+A256KW'
const CONTENT_ENC = 'A256GCM'
const AES_KW_IV = Buffer.alloc(8, 0xa6) // RFC 3394 §2.2.3.1

/** The JWK of a P-256 public key. */
export function ecJwk(key: KeyObject): EcJwk {
    const { crv, x, y } = key.export({ format: 'jwk' })
    if (crv !== 'P-256' || !x || !y) throw new TypeError('not a P-256 key')
    return { kty: 'EC', crv, alg: KEY_WRAP_ALG, x, y }
}

/** The public key of a JWK: a point on P-256. @throws AttestError ERR_JWE */
export function importEcJwk({ kty, crv, x, y }: Omit<EcJwk, 'alg'>): KeyObject {
    fromBase64Url(x, 'JWK x', 32)
    fromBase64Url(y, 'JWK y', 32)
    try {
        return createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' })
    } catch (cause) {
        throw coreError('ERR_JWE', 'the JWK is not a point on P-256', { cause })
    }
}

/** Encrypts to a P-256 public key, with a content key and an ephemeral key of its own each time. */
export function encryptTo(recipient: KeyObject, plaintext: Uint8Array): FlattenedJwe {
    const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x, y } = ecJwk(ephemeral.publicKey)
    const header = toBase64Url(
        Buffer.from(JSON.stringify({ alg: KEY_WRAP_ALG, enc: CONTENT_ENC, epk: { crv: 'P-256', kty: 'EC', x, y } })),
    )
    const contentKey = secret(randomBytes(32))
    const wrapKey = deriveWrapKey(ephemeral.privateKey, recipient)
    try {
        const wrap = createCipheriv('id-aes256-wrap', wrapKey, AES_KW_IV)
        const encryptedKey = Buffer.concat([wrap.update(contentKey), wrap.final()])
        const sealed = sealUnder(contentKey, header, plaintext)
        return { protected: header, encrypted_key: toBase64Url(encryptedKey), ...sealed }
    } finally {
        wipe(contentKey, wrapKey)
    }
}

/** Opens what `encryptTo`, or another implementation of the same algorithms, has sealed. @throws AttestError ERR_JWE */
export function decryptWith(privateKey: KeyObject, jwe: FlattenedJwe): Secret {
    const header = readHeader(jwe.protected, { alg: KEY_WRAP_ALG, enc: CONTENT_ENC })
    const { epk: unprotected, ...rest } = jwe.header ?? {}
    // RFC 7516 §7.2.1: the names of the two headers must not meet.
    if (Object.keys(rest).length > 0 || (unprotected !== undefined && 'epk' in header))
        throw coreError('ERR_JWE', 'JWE: unexpected members in the unprotected header')
    const epk = (header['epk'] ?? unprotected) as Record<string, unknown> | undefined
    if (epk?.['kty'] !== 'EC' || epk['crv'] !== 'P-256' || typeof epk['x'] !== 'string' || typeof epk['y'] !== 'string')
        throw coreError('ERR_JWE', 'JWE: the ephemeral key (epk) is not on P-256')
    const wrapKey = deriveWrapKey(privateKey, importEcJwk({ kty: 'EC', crv: 'P-256', x: epk['x'], y: epk['y'] }))
    let contentKey: Secret | undefined
    try {
        const unwrap = createDecipheriv('id-aes256-wrap', wrapKey, AES_KW_IV)
        contentKey = secret(
            Buffer.concat([unwrap.update(fromBase64Url(jwe.encrypted_key, 'JWE encrypted_key', 40)), unwrap.final()]),
        )
        return openUnder(contentKey, jwe)
    } catch (cause) {
        throw doesNotOpen(cause)
    } finally {
        wipe(wrapKey, contentKey)
    }
}

/** Compact JWE under a key that both sides have (`dir`). The header's `alg` and `enc` are set here. */
export function encryptDirect(
    key: Uint8Array,
    header: Readonly<Record<string, unknown>>,
    plaintext: Uint8Array,
): string {
    const encoded = toBase64Url(Buffer.from(JSON.stringify({ alg: 'dir', enc: CONTENT_ENC, ...header })))
    const { iv, ciphertext, tag } = sealUnder(key, encoded, plaintext)
    return `${encoded}..${iv}.${ciphertext}.${tag}`
}

/** The parts of a compact JWE, its header decoded but not authenticated. @throws AttestError ERR_JWE */
export function parseDirect(compact: string): { header: Record<string, unknown>; open(key: Uint8Array): Secret } {
    const parts = compact.split('.')
    const [encoded, encryptedKey, iv, ciphertext, tag] = parts
    if (parts.length !== 5 || !encoded || encryptedKey !== '' || !iv || ciphertext === undefined || !tag)
        throw coreError('ERR_JWE', 'not a compact JWE: five parts separated by dots are expected, the second empty')
    return {
        header: readHeader(encoded, { alg: 'dir', enc: CONTENT_ENC }),
        open(key) {
            try {
                return openUnder(key, { protected: encoded, iv, ciphertext, tag })
            } catch (cause) {
                throw doesNotOpen(cause)
            }
        },
    }
}

function sealUnder(key: Uint8Array, header: string, plaintext: Uint8Array) {
    const { iv, ciphertext, tag } = seal(key, plaintext, Buffer.from(header, 'ascii'))
    return { iv: toBase64Url(iv), ciphertext: toBase64Url(ciphertext), tag: toBase64Url(tag) }
}

function openUnder(key: Uint8Array, jwe: Omit<FlattenedJwe, 'encrypted_key'>): Secret {
    const sealed = {
        iv: fromBase64Url(jwe.iv, 'JWE iv', IV_SIZE),
        ciphertext: fromBase64Url(jwe.ciphertext, 'JWE ciphertext'),
        tag: fromBase64Url(jwe.tag, 'JWE tag', TAG_SIZE),
    }
    // RFC 7516 §5.2 step 14: the additional data is the received header as it was sent, not a new encoding of it.
    return open(key, sealed, Buffer.from(jwe.protected, 'ascii'))
}

// Concat KDF (RFC 7518 §4.6.2, NIST SP 800-56A): one round of SHA-256; AlgorithmID is the name of the wrapping
// algorithm, both party infos are empty, 256 bits are asked for.
function deriveWrapKey(privateKey: KeyObject, publicKey: KeyObject): Secret {
    const shared = secret(diffieHellman({ privateKey, publicKey }))
    try {
        const hash = createHash('sha256').update(uint32(1)).update(shared)
        hash.update(uint32(KEY_WRAP_ALG.length)).update(KEY_WRAP_ALG)
        return secret(hash.update(uint32(0)).update(uint32(0)).update(uint32(256)).digest())
    } finally {
        wipe(shared)
    }
}

function readHeader(encoded: string, want: Record<string, string>): Record<string, unknown> {
    const header = parseJson(fromBase64Url(encoded, 'JWE protected header'), { title: 'JWE protected header' })
    if (typeof header !== 'object' || header === null || Array.isArray(header))
        throw coreError('ERR_JWE', 'JWE: the protected header is not an object')
    const members = header as Record<string, unknown>
    for (const [name, value] of Object.entries(want))
        if (members[name] !== value)
            throw coreError('ERR_JWE', `JWE: expected ${name} ${value}, got ${JSON.stringify(members[name])}`)
    // RFC 7515 §4.1.11: extensions that are marked critical and not understood refuse the message.
    if ('crit' in members) throw coreError('ERR_JWE', 'JWE: critical extensions are not understood')
    return members
}

function doesNotOpen(cause: unknown): AttestError {
    if (cause instanceof AttestError) return cause
    return coreError('ERR_JWE', 'the message does not open: the key is another one, or the message was altered', {
        cause,
    })
}

function uint32(value: number): Buffer {
    const out = Buffer.alloc(4)
    out.writeUInt32BE(value)
    return out
}
