// The guest's side of SEV and SEV-ES: the secrets that were injected before it ran, which is all that it has. With the key
// of its launch among them it proves itself, to the broker that injected it.
// SPDX-License-Identifier: Apache-2.0

import type { Driver } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { clientOf } from './client.ts'
import { TEE } from './tee.ts'

/** A guest of SEV-SNP: the firmware of one may name an area as well, and it proves itself. */
const SNP_DEVICE = '/sys/devices/platform/sev-guest'

export const sevDriver: Driver = {
    tee: TEE,
    async open({ system, efiSecrets, keyring }, { via } = {}) {
        if (!efiSecrets.exists() || system.exists(SNP_DEVICE)) return null
        if (via !== undefined && via !== 'securityfs')
            throw driverError('ERR_VIA', `this is an SEV guest, and does not answer through ${via}`, {
                hint: 'it has no reports, only the secrets that were injected: --via securityfs',
            })
        efiSecrets.requireShown()
        const { path } = efiSecrets
        return {
            tee: TEE,
            probe: { via: 'securityfs', path, tried: [{ via: 'securityfs', path, found: 'secrets' }] },
            secrets: efiSecrets,
            ...clientOf({ efiSecrets, keyring }),
            close: () => undefined,
        }
    },
}
