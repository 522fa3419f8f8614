// How SEV derives keys: SP 800-108 in counter mode with HMAC-SHA-256, one block, of which 16 bytes are taken. Counter and
// length are little-endian here, unlike in most libraries. AMD 55766 (Secure Encrypted Virtualization API).
// SPDX-License-Identifier: Apache-2.0

import { createHmac } from 'node:crypto'
import { type Secret, secret } from '#core/bytes.ts'

export const KEY_SIZE = 16

export const hmac256 = (key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer => {
    const mac = createHmac('sha256', key)
    for (const part of parts) mac.update(part)
    return mac.digest()
}

/** 16 bytes for a label. */
export function deriveKey(key: Uint8Array, label: string, context: Uint8Array = NOTHING): Secret {
    const block = hmac256(key, u32(1), Buffer.from(`${label}\0`), context, u32(KEY_SIZE * 8))
    const derived = secret(block.subarray(0, KEY_SIZE))
    block.fill(0)
    return derived
}

const NOTHING = Buffer.alloc(0)

/** A word, little-endian. */
export function u32(value: number): Buffer {
    const out = Buffer.alloc(4)
    out.writeUInt32LE(value)
    return out
}
