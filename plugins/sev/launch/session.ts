// The session of a launch: two transport keys, wrapped for one platform by a key agreement with its PDH. Everything is
// fresh for each launch: keys that two launches share let a host open what was sealed for the other.
// AMD 55766 (Secure Encrypted Virtualization API), LAUNCH_START.
// SPDX-License-Identifier: Apache-2.0

import { createCipheriv, diffieHellman, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { equalBytes, type Secret, secret, wipe } from '#core/bytes.ts'
import { bytes, layout } from '#core/layout.ts'
import { makeCertificate } from '../chain/certs.ts'
import { sevError } from '../errors.ts'
import { readPolicy } from './guest-policy.ts'
import { deriveKey, hmac256, KEY_SIZE, u32 } from './kdf.ts'

export const SESSION = layout('session', 128, {
    nonce: bytes(0, 16),
    wrapTk: bytes(16, 32),
    wrapIv: bytes(48, 16),
    wrapMac: bytes(64, 32),
    policyMac: bytes(96, 32),
})

/** TEK encrypts, TIK authenticates what owner and firmware say to each other. Wipe them. */
export interface TransportKeys {
    readonly tek: Secret
    readonly tik: Secret
}

export interface Session extends TransportKeys {
    /** The owner's half of the key agreement (GODH): a certificate that nobody needs to have signed. */
    readonly godh: Buffer
    readonly session: Buffer
}

/** A new session for the platform with this PDH. @throws AttestError ERR_SEV_GUEST_POLICY */
export function newSession(pdh: KeyObject, policy: number): Session {
    readPolicy(policy)
    const own = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
    const shared = diffieHellman({ privateKey: own.privateKey, publicKey: pdh })
    const keys = { tek: secret(randomBytes(KEY_SIZE)), tik: secret(randomBytes(KEY_SIZE)) }
    try {
        return {
            godh: makeCertificate({ usage: 'PDH', algorithm: 'ECDH_SHA256', publicKey: own.publicKey }, []),
            session: wrapKeys({ shared, keys, policy, nonce: randomBytes(16), iv: randomBytes(16) }),
            ...keys,
        }
    } finally {
        wipe(shared)
    }
}

export interface Wrapping {
    /** The x coordinate of the key agreement, big-endian. */
    readonly shared: Uint8Array
    readonly keys: TransportKeys
    readonly policy: number
    readonly nonce: Buffer
    readonly iv: Buffer
}

/** The session's bytes, of parts that are all given. */
export function wrapKeys({ shared, keys, policy, nonce, iv }: Wrapping): Buffer {
    const { kek, kik } = wrappingKeys(shared, nonce)
    const both = Buffer.concat([keys.tek, keys.tik])
    try {
        const wrapTk = aesCtr(kek, iv, both)
        return SESSION.encode({
            nonce,
            wrapTk,
            wrapIv: iv,
            wrapMac: hmac256(kik, wrapTk),
            policyMac: hmac256(keys.tik, u32(policy)),
        })
    } finally {
        wipe(kek, kik, both)
    }
}

/**
 * What the firmware does with a session: the keys, where it is for this platform and this policy.
 * @throws AttestError ERR_LENGTH, ERR_SEV_SESSION
 */
export function unwrapKeys(session: Uint8Array, shared: Uint8Array, policy: number): TransportKeys {
    const { nonce, wrapTk, wrapIv, wrapMac, policyMac } = SESSION.parse(session)
    const { kek, kik } = wrappingKeys(shared, nonce)
    try {
        if (!equalBytes(hmac256(kik, wrapTk), wrapMac))
            throw sevError('ERR_SEV_SESSION', 'the session is not for this platform')
        const both = aesCtr(kek, wrapIv, wrapTk)
        const keys = { tek: secret(both.subarray(0, KEY_SIZE)), tik: secret(both.subarray(KEY_SIZE)) }
        if (equalBytes(hmac256(keys.tik, u32(policy)), policyMac)) return keys
        wipe(keys.tek, keys.tik)
        throw sevError('ERR_SEV_SESSION', 'the session is for another policy')
    } finally {
        wipe(kek, kik)
    }
}

/** The keys that wrap, from the key agreement. */
export function wrappingKeys(shared: Uint8Array, nonce: Uint8Array): { readonly kek: Secret; readonly kik: Secret } {
    const master = deriveKey(shared, 'sev-master-secret', nonce)
    try {
        return { kek: deriveKey(master, 'sev-kek'), kik: deriveKey(master, 'sev-kik') }
    } finally {
        wipe(master)
    }
}

/** AES-128-CTR, which is its own inverse; the counter is the whole IV. */
export function aesCtr(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Buffer {
    const cipher = createCipheriv('aes-128-ctr', key, iv)
    const out = cipher.update(data)
    cipher.final() // of a stream cipher it is empty
    return out
}
