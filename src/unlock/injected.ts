// The passphrase that an injected secret is.
// SPDX-License-Identifier: Apache-2.0

import type { Secret } from '#core/bytes.ts'
import { unlockError } from './errors.ts'

/** The passphrase of a disk, as GRUB and libvirt know it. */
export const DISK_SECRET = '736869e5-84f0-4973-92ec-06879ce3da0b'

/**
 * GRUB needs a zero byte behind its passphrase, with which no disk was formatted; of another secret every byte counts,
 * since one in 256 random ones ends so.
 * @param say what was left out
 * @returns a view of the injected bytes, whose owner wipes them
 * @throws AttestError ERR_UNLOCK_KEY
 */
export function passphraseOf(guid: string, injected: Secret, say: (text: string) => void): Secret {
    const ends = guid === DISK_SECRET && injected.at(-1) === 0
    if (ends) say('the zero byte behind the injected passphrase is left out')
    const passphrase = ends ? (injected.subarray(0, -1) as Secret) : injected
    if (passphrase.length > 0) return passphrase
    throw unlockError('ERR_UNLOCK_KEY', 'the injected passphrase is empty')
}
