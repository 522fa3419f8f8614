// What a LUKS2 header may name: ciphers, integrity, hashes. Whoever writes the header chooses among these, so each row
// must be good by itself, and good under a key that was made for another row of its size.
//
// Not on the lists, and why: `aes-xts-plain` repeats its tweak after 2 TiB; CBC lets chosen bits of the plaintext be
// flipped; ECB shows equal blocks, and CTR what changed in a sector that is written twice; `aegis128` has a key of 128
// bits; Serpent, Twofish and Camellia are sound, and no image of a confidential VM uses them. CRC and bare hashes
// detect accidents, not an adversary.
// SPDX-License-Identifier: Apache-2.0

import { brief, luksError } from './errors.ts'

export interface CipherRow {
    /** Bytes of key: for XTS both keys together. */
    readonly keySizes: readonly number[]
    /** What becomes noise where one bit of the ciphertext is changed. */
    readonly scrambles: string
}

interface AuthenticatedRow {
    readonly keySizes: readonly number[]
    /** Bytes of the authentication key that follow the cipher's in the volume key. */
    readonly macSize: number
}

const XTS = { keySizes: [32, 64], scrambles: 'a block of 16 bytes' }
const WIDE = { keySizes: [32], scrambles: 'a whole sector' }

/** Ciphers in dm-crypt's notation. Nothing authenticates what they encrypt. They encrypt key-slot areas too. */
const CIPHERS: Readonly<Record<string, CipherRow>> = {
    'aes-xts-plain64': XTS,
    'aes-hctr2-plain64': WIDE,
    'xchacha12,aes-adiantum-plain64': WIDE,
    'xchacha20,aes-adiantum-plain64': WIDE,
}

const hmac = (macSize: number): AuthenticatedRow => ({ keySizes: XTS.keySizes, macSize })
const aead: AuthenticatedRow = { keySizes: [32], macSize: 0 }

/**
 * A cipher and the type of its integrity section: dm-crypt over dm-integrity, a tag for each sector. The two AEADs take
 * a random nonce of 96 bits for each write: after 2^32 writes, 16 TiB of large sectors, the chance that one has come
 * twice is 2^-33.
 */
const AUTHENTICATED: Readonly<Record<string, AuthenticatedRow>> = {
    'aes-xts-plain64 hmac(sha256)': hmac(32),
    'aes-xts-plain64 hmac(sha512)': hmac(64),
    'aes-xts-random hmac(sha256)': hmac(32),
    'aes-xts-random hmac(sha512)': hmac(64),
    'aes-gcm-random aead': aead,
    'chacha20-random poly1305': aead,
}

/** Hashes, by their names here and in node:crypto, and the size of what they give. */
export const HASHES: Readonly<Record<string, number>> = { sha256: 32, sha384: 48, sha512: 64 }

/** What a data cipher is: the sizes that its volume key may have, and what a change of the ciphertext does. */
export interface DataCipher {
    /** Bytes of the volume key, with the authentication key. */
    readonly keySizes: readonly number[]
    readonly macSize: number
    /** Null where a change is noticed. */
    readonly scrambles: string | null
}

/** @throws AttestError ERR_LUKS_NULL_CIPHER, ERR_LUKS_CIPHER */
export function dataCipher(encryption: string, integrity: string | null, where: string): DataCipher {
    if (integrity === null) return { ...areaCipher(encryption, where), macSize: 0 }
    refuseNull(encryption, where)
    const { keySizes, macSize } = row(AUTHENTICATED, `${encryption} ${integrity}`, where)
    return { keySizes: keySizes.map((size) => size + macSize), macSize, scrambles: null }
}

/** @throws AttestError ERR_LUKS_NULL_CIPHER, ERR_LUKS_CIPHER */
export function areaCipher(encryption: string, where: string): CipherRow {
    refuseNull(encryption, where)
    return row(CIPHERS, encryption, where)
}

/** @throws AttestError ERR_LUKS_HASH */
export function checkHash(hash: string, where: string): void {
    if (!Object.hasOwn(HASHES, hash))
        throw luksError('ERR_LUKS_HASH', `${where}: expected ${Object.keys(HASHES).join(', ')}, got ${brief(hash)}`)
}

/** The size of a hash of the table. */
export const hashSize = (hash: string): number => HASHES[hash] ?? 0

/** @throws AttestError ERR_LUKS_KEY_SIZE */
export function checkKeySize(
    size: number,
    { keySizes }: { readonly keySizes: readonly number[] },
    where: string,
): void {
    if (!keySizes.includes(size))
        throw luksError(
            'ERR_LUKS_KEY_SIZE',
            `${where}: expected a key of ${keySizes.map((bytes) => 8 * bytes).join(' or ')} bits, got ${8 * size}`,
        )
}

// In whatever spelling, `null`, `cipher_null-ecb`, `capi:ecb(cipher_null)-plain64`: no accepted cipher has these
// letters.
function refuseNull(encryption: string, where: string): void {
    if (/null/i.test(encryption))
        throw luksError('ERR_LUKS_NULL_CIPHER', `${where}: ${brief(encryption)} encrypts nothing`)
}

function row<T>(table: Readonly<Record<string, T>>, name: string, where: string): T {
    const found = Object.hasOwn(table, name) ? table[name] : undefined
    if (found) return found
    throw luksError('ERR_LUKS_CIPHER', `${where}: expected ${Object.keys(table).join(', ')}, got ${brief(name)}`)
}
