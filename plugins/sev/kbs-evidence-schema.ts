// The proof of possession in the key broker protocol's JSON form, as it is received.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { issues } from '#core/schema.ts'
import type { Evidence } from '#drivers/driver.ts'
import { sevError } from './errors.ts'
import { fromJson } from './kbs-evidence.ts'

const text = z.string().check(z.maxLength(128))

const JSON_FORM = z.strictObject({
    'sev-possession': z.strictObject({ 'launch-id': text, 'report-data': text, hmac: text }),
})

/**
 * Evidence from its JSON form. Null: it has no `sev-possession`, so it is another technology's.
 * @throws AttestError ERR_SEV_POSSESSION, naming the member
 */
export function fromKbs(primary: unknown): Evidence | null {
    if (typeof primary !== 'object' || primary === null || !Object.hasOwn(primary, 'sev-possession')) return null
    const result = JSON_FORM.safeParse(primary)
    if (!result.success) throw sevError('ERR_SEV_POSSESSION', `SEV evidence: ${issues(result.error)}`)
    return fromJson(result.data['sev-possession'])
}
