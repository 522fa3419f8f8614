// The clevis token of a binding: the passphrase of its key slot, sealed by a pin of ours, as `clevis luks bind` stores it.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { SALT_SIZE } from '#clevis/header.ts'
import { seal } from '#clevis/pin.ts'
import { parseSevBinding } from '#clevis/sev-header.ts'
import { secret, wipe } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { parseDirect } from '#core/jwe.ts'
import type { Resource, Seal } from '#luks/bind.ts'
import { metadataOf } from '#luks/metadata.ts'
import type { Target } from './target.ts'

export const clevisSeal =
    ({ servers, path }: Target, { version, bytes }: Resource): Seal =>
    (passphrase, keyslot) => {
        const key = secret(Buffer.from(bytes))
        try {
            const [protectedHeader, , iv, ciphertext, tag] = seal(
                key,
                { servers, path, version, salt: randomBytes(SALT_SIZE) },
                passphrase,
            ).split('.')
            const jwe = { ciphertext, encrypted_key: '', iv, protected: protectedHeader, tag }
            return { type: 'clevis', keyslots: [keyslot], jwe }
        } finally {
            wipe(key)
        }
    }

const JWE = z.looseObject({ protected: z.string(), iv: z.string(), ciphertext: z.string(), tag: z.string() })

/** What a token keeps for the pin of SEV and this secret, as a compact JWE; null where no token does. */
export function sealedWith(guid: string, copy: Buffer): string | null {
    for (const { type, jwe } of Object.values(metadataOf(copy).tokens)) {
        const { success, data } = JWE.safeParse(jwe)
        if (type !== 'clevis' || !success) continue
        const compact = [data.protected, '', data.iv, data.ciphertext, data.tag].join('.')
        if (guidOf(compact) === guid) return compact
    }
    return null
}

// Null of other pins, and of what is malformed, which the checks of the header judge.
function guidOf(compact: string): string | null {
    try {
        return parseSevBinding(parseDirect(compact).header).guid
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return null
    }
}
