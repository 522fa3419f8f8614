// Whether this guest was told of an area for secrets: all that is loaded of them where none may have been injected.
// SPDX-License-Identifier: Apache-2.0

import type { System } from './system.ts'

export interface SecretArea {
    /** Where the kernel shows what is in it. */
    readonly path: string
    /** Whether the firmware has told this kernel of an area for secrets, shown or not. */
    exists(): boolean
}

export const SECURITYFS = '/sys/kernel/security'

export const SECRETS_FOLDER = `${SECURITYFS}/secrets/coco`

/** What the kernel makes of an area that the firmware names, whether a driver serves it or not. */
export const SECRETS_DEVICE = '/sys/devices/platform/efi_secret.0'

export const secretArea = ({ exists }: System): SecretArea => ({
    path: SECRETS_FOLDER,
    exists: () => exists(SECRETS_FOLDER) || exists(SECRETS_DEVICE),
})
