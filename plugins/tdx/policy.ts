// The appraisal policy of TDX as TOML: read as the members' schemas say, strict where it is silent, and written.
// SPDX-License-Identifier: Apache-2.0

import { isZeroHex, type PolicyOf, policyTable } from '#core/policy-table.ts'
import type { Authentic, Coverage, Policy } from '#evidence/verifier.ts'
import { tdxError } from './errors.ts'
import { MEMBERS } from './members.ts'
import { TEE } from './tee.ts'

/** Absent lists are not checked, and that is printed; debug, migration and service TDs are always checked. */
export const TDX_POLICY = policyTable(TEE, MEMBERS, (text, hint) => tdxError('ERR_TDX_POLICY_FILE', text, { hint }))

export type TdxPolicy = PolicyOf<typeof MEMBERS>

/** @throws AttestError ERR_TDX_POLICY_FILE, naming the member */
export const readPolicy = (members: Readonly<Record<string, unknown>>, title: string): Policy =>
    TDX_POLICY.read(members, title) as unknown as Policy

/** The plugin's own view of a policy that `readPolicy` made. */
export const tdxPolicy = (policy: Policy): TdxPolicy => policy as unknown as TdxPolicy

/** The strictest policy that this evidence passes, as commented TOML. */
export const writePolicy = ({ claims }: Pick<Authentic, 'claims'>): string => TDX_POLICY.write(claims)

/**
 * The most that a policy can cover: MRTD is the firmware alone. Firmware measures the kernel into RTMR1; boot loader and
 * kernel measure the command line and the initrd into RTMR2. RTMR0 is what the host gave the firmware, which is none of
 * these. A register that is zero was measured into by nobody. Trusted events do not count: a log that lacks one of them is
 * made of trusted events, too.
 */
export function coverageOf(policy: Policy): Coverage {
    const { rtmr1, rtmr2 } = tdxPolicy(policy)
    return isMeasured(rtmr1) && isMeasured(rtmr2) ? 'firmware+kernel+initrd+cmdline' : 'firmware'
}

/** Whether a policy names values of a register, and none of them is that of a register that nobody measured into. */
export const isMeasured = (values: readonly string[] | undefined): boolean =>
    values !== undefined && !values.some((value) => isZeroHex(value))
