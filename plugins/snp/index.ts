// AMD SEV-SNP: the manifest. Files, in the order in which a reader meets them: report (the bytes), tcb (product lines),
// cert-table, vek, roots, chain, signing-key (who signed), verify (is it authentic), members, policy and appraise (is it
// acceptable), claims, inspect, weaknesses (what it says), launch-digest, id-block, id-options, measure (what it should
// measure), kbs-evidence, recognise and forms (its forms), driver and key-fields (the guest's side), emulate.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'
import { SNP_ERRORS } from './errors.ts'
import { KEY_FIELDS } from './key-fields.ts'
import { TEE } from './tee.ts'

export const snp = {
    id: TEE,
    title: 'AMD SEV-SNP',
    kbsNames: [TEE],
    errors: SNP_ERRORS,
    coverage:
        'its measurement covers the firmware; kernel, initrd and command line only where the guest is launched with their hashes (QEMU: kernel-hashes=on), or the firmware carries them',
    keyFields: KEY_FIELDS,
    privilegeLevels: 'VMPL',
    modules: ['sev-guest'],
    driver: async () => (await import('./driver.ts')).snpDriver,
    forms: () => import('./forms.ts'),
    vocabulary: () => import('./vocabulary.ts'),
    verifier: async (trust) => (await import('./verifier.ts')).snpVerifier(trust),
    measure: async () => (await import('./measure.ts')).snpMeasure,
    emulator: async () => (await import('./emulate.ts')).snpEmulator,
} as const satisfies Plugin
