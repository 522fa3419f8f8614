// The injected secrets that open disks, and the passphrase that one of them is.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import type { Secret } from '#core/bytes.ts'
import { isGuid } from '#core/guid.ts'
import { DISK_GUID, LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import { unlockError } from './errors.ts'

/**
 * The GUID of a secret that opens a disk, in lower case, as the kernel names its file. The key of the launch is none: what
 * opens a disk in an initrd is wiped there, and a header, which says what that is, can be written by the host.
 */
export const SECRET_GUID = z.string().check(
    z.refine(isGuid, 'expected a GUID'),
    z.toLowerCase(),
    z.refine((guid) => guid !== LAUNCH_KEY_GUID, 'the key of a launch opens no disk'),
)

/**
 * GRUB needs a zero byte behind its passphrase, with which no disk was formatted; of another secret every byte counts,
 * since one in 256 random ones ends so.
 * @param say what was left out
 * @returns a view of the injected bytes, whose owner wipes them
 * @throws AttestError ERR_UNLOCK_KEY
 */
export function passphraseOf(guid: string, injected: Secret, say: (text: string) => void): Secret {
    const ends = guid === DISK_GUID && injected.at(-1) === 0
    if (ends) say('the zero byte behind the injected passphrase is left out')
    const passphrase = ends ? (injected.subarray(0, -1) as Secret) : injected
    if (passphrase.length > 0) return passphrase
    throw unlockError('ERR_UNLOCK_KEY', 'the injected passphrase is empty')
}
