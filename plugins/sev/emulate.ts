// `emulate --tee sev`: what it can be told. What plays the guest is emulated/model.ts.
// SPDX-License-Identifier: Apache-2.0

import type { Emulator, OptionValues } from '#emulator/model.ts'

const OPTIONS = {
    secrets: { type: 'text', describe: 'what was injected: GUID:FILE or luks-key:FILE, several with commas between' },
    secretTable: { type: 'text', describe: 'a file with the whole table of secrets instead, sound or not' },
    kernel: {
        type: 'text',
        describe: 'what its kernel lacks: no-module, no-securityfs, no-area, no-option; nothing unless told',
    },
} as const

export type SevOptions = OptionValues<typeof OPTIONS>

export const sevEmulator: Emulator<typeof OPTIONS> = {
    options: OPTIONS,
    details:
        '/sys/kernel/security/secrets/coco, a file for each secret, as the kernel shows it where a guest’s owner had them injected; reading and removing one are called readSecret and wipeSecret. ' +
        'Removing one wipes it until the guest is started again. A table that Linux would refuse is refused here, and the kernel’s log says what it would say. ' +
        'Unless told there is one secret, luks-key, of 32 random bytes.',
    examples: [
        ['--secrets luks-key:disk.key -- guest-attest secrets list', 'what a guest finds that was launched with it'],
        ['--kernel no-module -- guest-attest detect', 'what is said where the module is missing'],
    ],
    faults: async () => ({}),
    model: async (options) => (await import('./emulated/model.ts')).sevModel(options),
}
