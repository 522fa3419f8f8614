// What a broker released, as the key of a disk.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, secret, wipe } from '#core/bytes.ts'
import { parseJson } from '#core/json.ts'
import { LUKS_KEY_SIZE } from '#kbs/messages.ts'
import { unlockError } from './errors.ts'

/**
 * A broker that knows kinds of resources releases 32 random bytes. One that does not may have stored the JSON key of
 * clevis-pin-trustee, whose 32 ASCII characters are the key. Anything else could be a text that somebody guesses. The
 * resource is wiped.
 * @throws AttestError ERR_UNLOCK_KEY
 */
export function asDiskKey(resource: Secret): Secret {
    try {
        if (resource.length === LUKS_KEY_SIZE) return secret(Buffer.from(resource))
        const key = trusteeKey(resource)
        if (key !== null) return secret(Buffer.from(key, 'ascii'))
    } finally {
        wipe(resource)
    }
    throw unlockError('ERR_UNLOCK_KEY', `the resource is no key: expected ${LUKS_KEY_SIZE} random bytes`, {
        hint: 'store one with `guest-attest broker put PATH --random`',
    })
}

function trusteeKey(resource: Secret): string | null {
    if (resource[0] !== 0x7b || resource.length >= 1024) return null
    let json: { readonly key_type?: unknown; readonly key?: unknown }
    try {
        json = parseJson(resource, { title: 'the resource' }) as typeof json
    } catch {
        return null // what is wrong with it would quote it
    }
    return json.key_type === 'oct' && typeof json.key === 'string' && /^[!-~]{32}$/.test(json.key) ? json.key : null
}
