// What a derived key can be bound to: GUEST_FIELD_SELECT. AMD 56860 rev 1.58, table 18.
// SPDX-License-Identifier: Apache-2.0

import type { KeyFields } from '#drivers/driver.ts'

/** Without the strict ones, the host could obtain the key with a guest of its own making, or with an older firmware. */
export const KEY_FIELDS = {
    policy: { bit: 1n << 0n, strict: true },
    imageId: { bit: 1n << 1n, strict: false },
    familyId: { bit: 1n << 2n, strict: false },
    measurement: { bit: 1n << 3n, strict: true },
    guestSvn: { bit: 1n << 4n, strict: true },
    tcbVersion: { bit: 1n << 5n, strict: true },
} as const satisfies KeyFields & Record<string, { readonly bit: bigint }>
