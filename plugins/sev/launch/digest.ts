// The launch digest of SEV and SEV-ES: SHA-256 over what the host encrypts before launch, in the order in which QEMU does.
// AMD 55766 (SEV API), LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA. Addresses are not part of it.
// SPDX-License-Identifier: Apache-2.0

import { createHash, type Hash } from 'node:crypto'
import { launchError } from '#core/launch/errors.ts'
import { hashTable, type KernelHashes, wantHashArea } from '#core/launch/kernel-hashes.ts'
import { type Firmware, hashArea } from '#core/launch/ovmf.ts'

/** What is encrypted at once. */
const BLOCK = 16

/** `unchecked` measures the hashes of a kernel also where the firmware has no place for them: no QEMU launches that. */
type Place = 'checked' | 'unchecked'

/**
 * The hash after firmware and kernel, ready for the pages of processors.
 * @throws AttestError ERR_FIRMWARE, ERR_FIRMWARE_LACKS
 */
export function memoryHash(firmware: Firmware, hashes: KernelHashes | null, place: Place = 'checked'): Hash {
    const { name, image } = firmware
    if (image.length === 0 || image.length % BLOCK !== 0)
        throw launchError('ERR_FIRMWARE', `${name} has ${image.length} bytes: no whole blocks of ${BLOCK}`)
    const hash = createHash('sha256').update(image)
    if (hashes) {
        if (place === 'checked' || hashArea(firmware)) wantHashArea(firmware)
        hash.update(hashTable(hashes))
    }
    return hash
}

/** With SEV-ES the pages of the processors, in their order; without it none. */
export function launchDigest(
    firmware: Firmware,
    hashes: KernelHashes | null,
    pages: readonly Buffer[],
    place?: Place,
): Buffer {
    const hash = memoryHash(firmware, hashes, place)
    for (const page of pages) hash.update(page)
    return hash.digest()
}
