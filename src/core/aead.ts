// AES-256-GCM (NIST SP 800-38D) with a random nonce for each message: the one way in which this program seals bytes.
// SPDX-License-Identifier: Apache-2.0

import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import { type Secret, secret, wipe } from './bytes.ts'

export const IV_SIZE = 12
export const TAG_SIZE = 16

const ALGORITHM = 'aes-256-gcm'

export interface Sealed {
    readonly iv: Buffer
    readonly ciphertext: Buffer
    readonly tag: Buffer
}

/** Encrypts. What is `additional` is authenticated too, and stays outside: it says what the bytes are. */
export function seal(key: KeyObject | Uint8Array, plaintext: Uint8Array, additional: Uint8Array): Sealed {
    const iv = randomBytes(IV_SIZE)
    const cipher = createCipheriv(ALGORITHM, key, iv)
    cipher.setAAD(additional)
    // GCM is a stream: nothing is left for `final` to give.
    const ciphertext = cipher.update(plaintext)
    cipher.final()
    return { iv, ciphertext, tag: cipher.getAuthTag() }
}

/** Opens what `seal` has made. Nothing is returned of what was altered, and nothing of it stays behind. @throws Error */
export function open(key: KeyObject | Uint8Array, { iv, ciphertext, tag }: Sealed, additional: Uint8Array): Secret {
    const decipher = createDecipheriv(ALGORITHM, key, iv, { authTagLength: TAG_SIZE })
    decipher.setAAD(additional)
    decipher.setAuthTag(tag)
    const plaintext = decipher.update(ciphertext)
    try {
        decipher.final()
        return secret(plaintext)
    } finally {
        wipe(plaintext)
    }
}

/** In one piece: nonce, ciphertext, tag. */
export const joined = ({ iv, ciphertext, tag }: Sealed): Buffer => Buffer.concat([iv, ciphertext, tag])

/** The parts of one piece. What is too short to be one does not open. */
export const parted = (bytes: Buffer): Sealed => ({
    iv: bytes.subarray(0, IV_SIZE),
    ciphertext: bytes.subarray(IV_SIZE, -TAG_SIZE),
    tag: bytes.subarray(-TAG_SIZE),
})
