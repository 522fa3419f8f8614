// The binary form of a proof of possession.
// SPDX-License-Identifier: Apache-2.0

import type { Evidence } from '#drivers/driver.ts'
import { looksLikePossession, parsePossession } from './possession.ts'
import { TEE } from './tee.ts'

export const FORMS = 'a proof of possession of SEV (136 bytes)'

/** Evidence from its bytes. Null: they do not begin as a proof does. @throws AttestError ERR_SEV_POSSESSION */
export function recognise(input: Buffer): { evidence: Evidence; form: string } | null {
    if (!looksLikePossession(input)) return null
    parsePossession(input)
    return { evidence: { tee: TEE, report: Buffer.from(input) }, form: 'SEV proof of possession' }
}
