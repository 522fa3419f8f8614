// AMD SEV and SEV-ES: the manifest. Its guests cannot ask their processor for a report: their owner proves them before they
// run, with measure (what it should measure), launch-service (a broker's), and for the rest owner leads there: chain/ (the
// platform's certificates), launch/ (session, measurement, packet of secrets), aeb/ (reports that the host asks for). A guest
// has what was injected into it: driver, client-secret (the key of its launch, as bytes), client (what it does with that),
// emulate. With that key it proves itself to its broker, in the files that every technology has, and possession (the proof).
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { SEV_ERRORS } from './errors.ts'
import { TEE } from './tee.ts'

export const sev = {
    id: TEE,
    title: 'AMD SEV',
    errors: SEV_ERRORS,
    // What a guest is of both its launch says, not its name for itself.
    kbsNames: [TEE, 'sev-es'],
    coverage:
        'its measurement covers the firmware; kernel, initrd and command line only where the guest is launched with their hashes (QEMU: kernel-hashes=on)',
    modules: ['efi_secret'],
    driver: async () => (await import('./driver.ts')).sevDriver,
    measure: async () => (await import('./measure.ts')).sevMeasure,
    forms: () => import('./forms.ts'),
    vocabulary: () => import('./vocabulary.ts'),
    verifier: async (trust) => (await import('./verifier.ts')).sevVerifier(trust),
    launch: async () => (await import('./launch-service.ts')).sevLaunch,
    emulator: async () => (await import('./emulate.ts')).sevEmulator,
} as const satisfies Plugin

/** Its other calculator, under the name of a command of its own: an owner knows which of both the guest will be. */
export const SEV_ES = {
    id: 'sev-es',
    title: 'AMD SEV-ES',
    measure: async () => (await import('./measure.ts')).sevEsMeasure,
} as const satisfies Pick<Plugin, 'id' | 'title' | 'measure'>
