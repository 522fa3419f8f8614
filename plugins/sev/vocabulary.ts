// What the rules of a broker may say of guests of SEV and SEV-ES: their claims, and the switches that let a finding through.
// SPDX-License-Identifier: Apache-2.0

export { SEV_CLAIMS as claims } from './claims.ts'

/** The switches of a broker's floor, and what each lets through. */
export const switches = {
    insecureUnmeasuredCpuState:
        'a guest without ES: nothing of its processors was measured, the host chose where they started',
    insecureMigration: 'a guest without NOSEND: its host can send it away, and so read its memory',
} as const satisfies Record<`insecure${string}`, string>
