// The guest's side of SEV and SEV-ES: the secrets that were injected before it ran, which is all that it has. With the key
// of its launch among them it proves itself (client.ts).
// SPDX-License-Identifier: Apache-2.0

import type { Driver } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { SNP_PLATFORM_DEVICE } from '#drivers/linux/sev-device.ts'
import { TDX_CPU_FLAG } from '#drivers/linux/tdx-device.ts'
import { TEE } from './tee.ts'

export const sevDriver: Driver = {
    tee: TEE,
    async open({ system, secretArea: { path, exists }, secrets }, { via } = {}) {
        if (!exists()) return null
        // The firmware of a guest that proves itself by reports may name an area as well. What is injected says whom the
        // guest trusts: of such a one, that is nobody's word.
        if (system.exists(SNP_PLATFORM_DEVICE) || system.hasCpuFlag(TDX_CPU_FLAG)) return null
        if (via !== undefined && via !== 'securityfs')
            throw driverError('ERR_VIA', `this is an SEV guest, and does not answer through ${via}`, {
                hint: 'it has no reports, only the secrets that were injected: --via securityfs',
            })
        const doors = await secrets()
        doors.efiSecrets.requireShown()
        const { clientOf } = await import('./client.ts') // another technology's guest does without it
        return {
            tee: TEE,
            probe: { via: 'securityfs', path, tried: [{ via: 'securityfs', path, found: 'secrets' }] },
            secrets: doors.efiSecrets,
            ...clientOf(doors),
            close: () => undefined,
        }
    },
}
