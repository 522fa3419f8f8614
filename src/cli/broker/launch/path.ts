// Where a broker's administration has a guest.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { UUID } from '#core/guid.ts'

/** @throws AttestError ERR_USAGE */
export function vmPath(uuid: unknown): string {
    const text = String(uuid)
    if (UUID.test(text)) return `/v1/vm/${text}`
    throw coreError('ERR_USAGE', `expected the UUID of a guest, got ${JSON.stringify(text)}`, {
        hint: 'as 7c9e6679-7425-40de-944b-e07fc1f90ae7; `uuidgen` makes one, `guest-attest broker launch list` has those that are expected',
    })
}
