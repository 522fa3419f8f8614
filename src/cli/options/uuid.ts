// The UUID of a guest on the command line.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { UUID } from '#core/guid.ts'

/** In lower case. @throws AttestError ERR_USAGE */
export function readUuid(text: string, where = ''): string {
    if (UUID.test(text)) return text.toLowerCase()
    throw coreError('ERR_USAGE', `${where}expected the UUID of a guest, got ${JSON.stringify(text)}`, {
        hint: 'as 7c9e6679-7425-40de-944b-e07fc1f90ae7: the owner’s `guest-attest broker launch register` was given it',
    })
}
