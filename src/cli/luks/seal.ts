// The clevis token of a binding: the passphrase of its key slot, sealed by our own pin, as `clevis luks bind` would store it.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { SALT_SIZE } from '#clevis/header.ts'
import { seal } from '#clevis/pin.ts'
import { secret, wipe } from '#core/bytes.ts'
import type { Resource, Seal } from '#luks/bind.ts'
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
