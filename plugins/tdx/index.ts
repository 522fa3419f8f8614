// Intel TDX: the manifest. Files, in the order in which a reader meets them: quote and attributes (the bytes), pck,
// roots, chain, revocation, collateral, qe and tcb (who signed, and what Intel says of it), platform, verify and status
// (is it authentic), ccel, dstack-log, event-types and event-log (what was measured), members, policy and appraise (is
// it acceptable), claims, inspect, weaknesses (what it says), kbs-evidence, recognise, forms and boot-log (its forms),
// measure (what should it be), pcs and collateral-service (what it is judged by), driver (the guest's side), emulate.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { TDX_ERRORS } from './errors.ts'
import { TEE } from './tee.ts'

export const tdx = {
    id: TEE,
    title: 'Intel TDX',
    kbsNames: [TEE],
    errors: TDX_ERRORS,
    coverage:
        'its measurement (MRTD) covers the firmware; kernel, initrd and command line are in the registers RTMR1 and RTMR2, where a policy or a reference set names them',
    modules: ['tdx-guest'],
    initrdFiles: ['/etc/tdx-attest.conf'],
    driver: async () => (await import('./driver.ts')).tdxDriver,
    forms: () => import('./forms.ts'),
    vocabulary: () => import('./vocabulary.ts'),
    verifier: async (trust) => (await import('./verifier.ts')).tdxVerifier(trust),
    collateral: async () => (await import('./collateral-service.ts')).tdxCollateral,
    measure: async () => (await import('./measure.ts')).tdxMeasure,
    emulator: async () => (await import('./emulate.ts')).tdxEmulator,
} as const satisfies Plugin
