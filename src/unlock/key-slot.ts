// From a key that was released to the passphrase of a key slot: the binding that was made for this path and version, and
// whose digest says that the header is the one that was bound.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { formatResourcePath, type ResourcePath } from '#kbs/messages.ts'
import { bindingKeys, bindingsTo, checkDigest, type LuksBinding } from '#luks/binding.ts'
import { unlockError } from './errors.ts'
import type { Released } from './release.ts'

/** A header that was judged, with its bindings to the path that is asked for. */
export interface BoundHeader {
    /** Both copies, and the key-slot areas. */
    readonly copy: Buffer
    /** The newest version of the resource first. */
    readonly bindings: readonly LuksBinding[]
}

export interface KeySlot {
    readonly binding: LuksBinding
    /** The caller wipes it. */
    readonly passphrase: Secret
}

/**
 * @param command which binds a disk, for the hint
 * @throws AttestError ERR_UNLOCK_UNBOUND, ERR_LUKS_*
 */
export function boundTo(copy: Buffer, device: string, path: ResourcePath, command: 'bind' | 'enroll'): BoundHeader {
    const wanted = formatResourcePath(path)
    const bindings = bindingsTo(copy, wanted)
    if (bindings.length > 0) return { copy, bindings }
    throw unlockError('ERR_UNLOCK_UNBOUND', `${device} is not bound to ${wanted}`, {
        hint: `guest-attest luks ${command} ${device} --path ${wanted}`,
    })
}

/** In their order, each once: a header in the middle of a rotation has two. */
export const versionsOf = ({ bindings }: BoundHeader): (number | null)[] => [
    ...new Set(bindings.map(({ version }) => version)),
]

/** @throws AttestError ERR_LUKS_HEADER_DIGEST where the header is not the one that any of them was made for */
export function keySlotOf({ copy, bindings }: BoundHeader, { key, asked }: Released): KeySlot {
    let last: unknown
    for (const binding of bindings.filter(({ version }) => version === asked)) {
        const { passphrase, headerKey } = bindingKeys(key, binding)
        try {
            checkDigest(copy, binding, headerKey)
            return { binding, passphrase }
        } catch (error) {
            wipe(passphrase)
            last = error
        } finally {
            wipe(headerKey)
        }
    }
    throw last
}
