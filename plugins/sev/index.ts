// AMD SEV and SEV-ES: the manifest. Its guests cannot ask their processor for a report, so nothing here judges one of
// theirs. What a guest has is driver (what was injected into it) and emulate. Everything else is its owner's, before it
// runs: owner leads there.
// SPDX-License-Identifier: Apache-2.0

import type { GuestPlugin } from '#plugins/plugin.ts'
import { SEV_ERRORS } from './errors.ts'
import { TEE } from './tee.ts'

export const sev = {
    id: TEE,
    title: 'AMD SEV',
    errors: SEV_ERRORS,
    driver: async () => (await import('./driver.ts')).sevDriver,
    emulator: async () => (await import('./emulate.ts')).sevEmulator,
} as const satisfies GuestPlugin
