// The appraisal policy of SEV as TOML: read as the members' schemas say, strict where it is silent, and written. The policy
// of a launch, which AMD calls the guest's, is launch/guest-policy.ts.
// SPDX-License-Identifier: Apache-2.0

import { type PolicyOf, policyTable } from '#core/policy-table.ts'
import type { Authentic, Policy } from '#evidence/verifier.ts'
import { sevError } from './errors.ts'
import { MEMBERS } from './members.ts'
import { TEE } from './tee.ts'

export const SEV_POLICY = policyTable(TEE, MEMBERS, (text, hint) => sevError('ERR_SEV_POLICY_FILE', text, { hint }))

export type SevPolicy = PolicyOf<typeof MEMBERS>

/** @throws AttestError ERR_SEV_POLICY_FILE, naming the member */
export const readPolicy = (members: Readonly<Record<string, unknown>>, title: string): Policy =>
    SEV_POLICY.read(members, title) as unknown as Policy

/** The plugin's own view of a policy that `readPolicy` made. */
export const sevPolicy = (policy: Policy): SevPolicy => policy as unknown as SevPolicy

/** The strictest policy that this evidence passes, as commented TOML. */
export const writePolicy = ({ claims }: Pick<Authentic, 'claims'>): string => SEV_POLICY.write(claims)
