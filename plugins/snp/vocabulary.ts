// What the rules of a broker may say of SNP guests: their claims, and the switches that let a finding through.
// SPDX-License-Identifier: Apache-2.0

export { SNP_CLAIMS as claims } from './claims.ts'

/** The switches of a broker's floor, and what each lets through. */
export const switches = {
    insecureDebug: 'a guest whose memory the host may read and write',
    insecureMigration: 'a guest that a migration agent may move',
    insecureVmpl: 'a report that speaks for a less privileged level than the guest’s kernel',
    insecureAnyProductLine: 'a guest on any line of processors, because the reference set names none',
    insecureNoMinimumTcb: 'a guest on any firmware version, because the reference set names no minimum for its line',
    insecureAnyVlekProvider: 'a guest at any cloud provider, because the reference set names none',
} as const satisfies Record<`insecure${string}`, string>
