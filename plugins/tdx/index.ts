// Intel TDX: the manifest. What a reader meets first: quote and attributes (the bytes), roots, pck, chain, qe and tcb (who
// signed), collateral/ (what Intel says of platforms, and where it is fetched), platform, verify and status (is it
// authentic), event-log/ (what was measured), members, policy and appraise (is it acceptable), claims, inspect,
// weaknesses (what it says), kbs-evidence, recognise and forms (its forms), measure and measured/ (what should it be),
// driver (the guest's side), emulate, emulated/ and mint/ (the vendor that is none).
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
