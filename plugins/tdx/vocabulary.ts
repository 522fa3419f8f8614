// What the rules of a broker may say of TDX guests: their claims, and the switches that let a finding through.
// SPDX-License-Identifier: Apache-2.0

export { TDX_CLAIMS as claims } from './claims.ts'

/** The switches of a broker's floor, and what each lets through. A name that SNP has too means the same. */
export const switches = {
    insecureDebug: 'a guest whose memory the host may read and write',
    insecureProfiling: 'a guest that the host may profile: what it does with its secrets can be seen from outside',
    insecureMigration: 'a guest that a migration agent may move',
    insecureServiceTd: 'a guest that a service TD is bound to, which nobody judged',
    insecureUnmeasuredMachine:
        'a guest whose reference set covers all but RTMR0: the host chooses its ACPI tables, with code for the kernel, and its UEFI variables',
    insecureUnknownModule: 'a guest on a TDX module that no statement of Intel names, nor the reference set',
} as const satisfies Record<`insecure${string}`, string>
