// The appraisal policy of SNP as TOML: read as the members' schemas say, strict where it is silent, and written.
// SPDX-License-Identifier: Apache-2.0

import { type PolicyOf, policyTable } from '#core/policy-table.ts'
import type { Authentic, Policy } from '#evidence/verifier.ts'
import { snpError } from './errors.ts'
import { MEMBERS } from './members.ts'
import { TEE } from './tee.ts'

/** Absent lists are not checked, and that is printed; debug, migration and the VMPL are always checked. */
export const SNP_POLICY = policyTable(TEE, MEMBERS, (text, hint) => snpError('ERR_SNP_POLICY_FILE', text, { hint }))

export type SnpPolicy = PolicyOf<typeof MEMBERS>

/** @throws AttestError ERR_SNP_POLICY_FILE, naming the member */
export const readPolicy = (members: Readonly<Record<string, unknown>>, title: string): Policy =>
    SNP_POLICY.read(members, title) as unknown as Policy

/** The plugin's own view of a policy that `readPolicy` made. */
export const snpPolicy = (policy: Policy): SnpPolicy => policy as unknown as SnpPolicy

/** The strictest policy that this evidence passes, as commented TOML. */
export const writePolicy = ({ claims }: Pick<Authentic, 'claims'>): string => SNP_POLICY.write(claims)
