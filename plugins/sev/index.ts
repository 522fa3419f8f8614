// AMD SEV and SEV-ES: the manifest. Its guests cannot ask their processor for a report, so nothing here judges one of
// theirs. What a guest has is driver (what was injected into it) and emulate. Everything else is its owner's, before it
// runs: measure (what it should measure), launch-service (a broker's), and for the rest owner leads there.
// SPDX-License-Identifier: Apache-2.0

import type { GuestPlugin } from '#plugins/plugin.ts'
import { SEV_ERRORS } from './errors.ts'
import { TEE } from './tee.ts'

export const sev = {
    id: TEE,
    title: 'AMD SEV',
    errors: SEV_ERRORS,
    modules: ['efi_secret'],
    driver: async () => (await import('./driver.ts')).sevDriver,
    measure: async () => (await import('./measure.ts')).sevMeasure,
    launch: async () => (await import('./launch-service.ts')).sevLaunch,
    emulator: async () => (await import('./emulate.ts')).sevEmulator,
} as const satisfies GuestPlugin

/** Its other calculator, under the name of a command of its own: an owner knows which of both the guest will be. */
export const SEV_ES = {
    id: 'sev-es',
    title: 'AMD SEV-ES',
    measure: async () => (await import('./measure.ts')).sevEsMeasure,
} as const satisfies Pick<GuestPlugin, 'id' | 'title' | 'measure'>
