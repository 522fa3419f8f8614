// Bytes and their text forms (RFC 4648), checked lengths, and secrets that can be wiped.
// SPDX-License-Identifier: Apache-2.0

import { timingSafeEqual } from 'node:crypto'
import { coreError } from './errors.ts'

/** Key material. Wipe it in `finally`; never put it into a string, an error or a log. */
export type Secret = Buffer & { readonly __secret: true }

/** Takes the bytes over: the source is wiped, and the copy has memory of its own (not Node's pool). */
export function secret(bytes: Uint8Array): Secret {
    const own = Buffer.alloc(bytes.length)
    own.set(bytes)
    bytes.fill(0)
    return own as Secret
}

/** Overwrites key material; what is undefined needs none. */
export function wipe(...buffers: (Uint8Array | undefined)[]): void {
    for (const buffer of buffers) buffer?.fill(0)
}

/** @throws AttestError ERR_LENGTH */
export function wantLength<T extends Uint8Array>(bytes: T, length: number, title: string): T {
    if (bytes.length !== length)
        throw coreError('ERR_LENGTH', `${title}: expected ${length} bytes, got ${bytes.length}`)
    return bytes
}

/** Hexadecimal of either case, whole bytes only. @throws AttestError ERR_ENCODING, ERR_LENGTH */
export function fromHex(text: string, title: string, length?: number): Buffer {
    if (!/^(?:[0-9a-fA-F]{2})*$/.test(text))
        throw coreError('ERR_ENCODING', `${title}: expected hex digits, two for each byte`)
    const bytes = Buffer.from(text, 'hex')
    return length === undefined ? bytes : wantLength(bytes, length, title)
}

export const toHex = (bytes: Uint8Array): string =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')

/** A word of 64 bits in hex, all 16 digits of it. */
export const hexWord = (word: bigint): string => word.toString(16).padStart(16, '0')

/** 16 bits, little-endian. */
export function u16le(value: number): Buffer {
    const out = Buffer.alloc(2)
    out.writeUInt16LE(value)
    return out
}

/** 32 bits, little-endian. */
export function u32le(value: number): Buffer {
    const out = Buffer.alloc(4)
    out.writeUInt32LE(value)
    return out
}

/** Standard base64 with padding, canonical (RFC 4648 §3.5). @throws AttestError ERR_ENCODING, ERR_LENGTH */
export function fromBase64(text: string, title: string, length?: number): Buffer {
    return decode64(text, 'base64', title, length)
}

/** base64url without padding, canonical (RFC 7515 §2). @throws AttestError ERR_ENCODING, ERR_LENGTH */
export function fromBase64Url(text: string, title: string, length?: number): Buffer {
    return decode64(text, 'base64url', title, length)
}

export const toBase64 = (bytes: Uint8Array): string =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

export const toBase64Url = (bytes: Uint8Array): string =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')

/** The same as bytes of ASCII: a string of a secret could not be wiped. */
export function toBase64UrlBytes(bytes: Uint8Array): Secret {
    const out = Buffer.alloc(Math.ceil((bytes.length * 4) / 3))
    for (let at = 0; at < out.length; at++) {
        const bit = at * 6
        const pair = ((bytes[bit >> 3] ?? 0) << 8) | (bytes[(bit >> 3) + 1] ?? 0)
        out[at] = BASE64URL.charCodeAt((pair >> (10 - (bit & 7))) & 63)
    }
    return out as Secret
}

/** The other way; null for what is not canonical base64url. */
export function fromBase64UrlBytes(text: Uint8Array): Secret | null {
    const out = Buffer.alloc(Math.floor((text.length * 3) / 4))
    let bits = 0
    let count = 0
    let at = 0
    for (const character of text) {
        const value = BASE64URL.indexOf(String.fromCharCode(character))
        if (value < 0) return null
        bits = ((bits << 6) | value) & 0xffff
        count += 6
        if (count < 8) continue
        count -= 8
        out[at++] = bits >> count
    }
    // What is left over is zero, and less than a character.
    return count < 6 && (bits & ((1 << count) - 1)) === 0 ? (out as Secret) : null
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** Equal in constant time; of different length is different. */
export const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b)

export function isZero(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.length; at += ZEROS.length)
        if (!ZEROS.subarray(0, Math.min(ZEROS.length, bytes.length - at)).equals(bytes.subarray(at, at + ZEROS.length)))
            return false
    return true
}

const ZEROS = Buffer.alloc(4096)

/** Hex for a person, who should not have to count zeros. */
export const hexOrZero = (bytes: Uint8Array): string => (isZero(bytes) ? `zero (${bytes.length} bytes)` : toHex(bytes))

// Node's decoder skips what it does not know; encoding again shows whether it skipped anything.
function decode64(text: string, encoding: 'base64' | 'base64url', title: string, length?: number): Buffer {
    const bytes = Buffer.from(text, encoding)
    if (bytes.toString(encoding) !== text) throw coreError('ERR_ENCODING', `${title}: not ${encoding}`)
    return length === undefined ? bytes : wantLength(bytes, length, title)
}
