// The doors of a guest into which secrets were injected, loaded when it is one.
// SPDX-License-Identifier: Apache-2.0

import { RUN_FOLDER } from '#core/role.ts'
import { type EfiSecrets, efiSecrets } from './efi-secret.ts'
import { keyring } from './keyring.ts'
import { type SealedKeyring, sealedKeyring } from './sealed-keyring.ts'
import type { System } from './system.ts'

export interface SecretDoors {
    readonly efiSecrets: EfiSecrets
    readonly keyring: SealedKeyring
}

export const secretDoors = (system: System): SecretDoors => ({
    efiSecrets: efiSecrets(system),
    keyring: sealedKeyring(keyring(), RUN_FOLDER),
})
