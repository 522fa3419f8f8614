// `emulate --tee snp`: what it can be told. What plays the guest is emulated/model.ts.
// SPDX-License-Identifier: Apache-2.0

import type { OptionValues, VendorEmulator } from '#emulator/model.ts'

const OPTIONS = {
    measurement: { type: 'bytes', describe: 'the launch measurement that it reports (hex)' },
    hostData: { type: 'bytes', describe: 'what the host has bound to the launch (hex)' },
    policy: { type: 'word', describe: "the guest's policy, as a number in hex" },
    vmpl: { type: 'number', describe: "the privilege level of the guest's kernel: 0 to 3" },
    generation: { type: 'text', describe: 'the processor: milan, genoa or turin' },
    trustDir: {
        type: 'text',
        describe: "a folder for the emulated vendor's keys and certificates: it is used again if it holds some",
    },
} as const

export type SnpOptions = OptionValues<typeof OPTIONS>

export const snpEmulator: VendorEmulator<typeof OPTIONS> = {
    options: OPTIONS,
    trustFolder: { root: 'ark.pem', collateral: '.' },
    details:
        '/dev/sev-guest and /sys/kernel/config/tsm/report, whose requests are called getReport, getExtReport, getDerivedKey and configfs. ' +
        'With --trust-dir DIR, DIR/ark.pem is the root that a verifier can be told to trust (--trust-root), beside ask.pem, vcek.pem and crl.der.',
    examples: [
        ['--trust-dir /tmp/vendor -- guest-attest detect', 'what a guest says of itself'],
        ['--vmpl 1 --faults busy.toml -- bash', 'a shell in a guest whose host throttles'],
    ],
    faults: async () => (await import('./emulated/faults.ts')).SNP_FAULTS,
    model: async (options, deps) => (await import('./emulated/model.ts')).snpModel(options, deps),
}
