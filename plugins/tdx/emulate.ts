// `emulate --tee tdx`: what it can be told. What plays the guest is emulated/model.ts.
// SPDX-License-Identifier: Apache-2.0

import type { OptionValues, VendorEmulator } from '#emulator/model.ts'

const OPTIONS = {
    measurement: { type: 'bytes', describe: 'the launch measurement that it reports (hex); MRTD of a TD' },
    mrConfigId: { type: 'bytes', describe: 'MRCONFIGID: what the host has bound to the launch (hex)' },
    attributes: { type: 'word', describe: "the TD's attributes, as a number in hex" },
    xfam: { type: 'word', describe: 'the extended features that the TD may use, as a number in hex' },
    quoteVersion: { type: 'number', describe: 'the version of its quotes: 4 or 5' },
    bodyType: { type: 'number', describe: 'what a quote says of the TD: 2 (TDX 1.0), 3 (1.5) or 4 (1.5, extended)' },
    tcbStatus: { type: 'text', describe: 'what the vendor says of the platform: UpToDate, OutOfDate, …' },
    eventLog: { type: 'text', describe: 'a file with the event log of its boot (CCEL), whose registers it then has' },
    provider: { type: 'text', describe: 'what configfs calls itself, to see who is misled: tdx_guest unless told' },
    trustDir: {
        type: 'text',
        describe: "a folder for the emulated vendor's keys and certificates: it is used again if it holds some",
    },
} as const

export type TdxOptions = OptionValues<typeof OPTIONS>

export const tdxEmulator: VendorEmulator<typeof OPTIONS> = {
    options: OPTIONS,
    trustFolder: { root: 'root.pem', collateral: 'collateral' },
    details:
        '/dev/tdx_guest and /sys/kernel/config/tsm/report, whose requests are called getReport, getQuote and configfs; the registers below /sys/devices/virtual/misc/tdx_guest/measurements (readRegister, extendRegister); the event log behind the ACPI table CCEL. ' +
        'The device also makes quotes, as kernels of Intel’s did and upstream ones do not. There is no quoting service over vsock. ' +
        'With --trust-dir DIR, DIR/root.pem is the root that a verifier can be told to trust (--trust-root), and DIR/collateral holds what it needs beside that (--collateral).',
    examples: [
        ['--trust-dir /tmp/vendor -- guest-attest detect', 'what a guest says of itself'],
        ['--tcb-status OutOfDate -- guest-attest evidence --report-data hex:00', 'evidence of an outdated platform'],
    ],
    faults: async () => (await import('./emulated/faults.ts')).TDX_FAULTS,
    model: async (options, deps) => (await import('./emulated/model.ts')).tdxModel(options, deps),
}
