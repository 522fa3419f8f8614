// Is it acceptable? A guest that holds the key of its launch against a policy, as a list of named checks; and what a
// broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { claimAt, type PolicyOf, policyTable } from '#core/policy-table.ts'
import type { Authentic, FloorFinding, Policy } from '#evidence/verifier.ts'
import { sevError } from './errors.ts'
import { migrationRisk } from './launch/guest-policy.ts'
import { MEMBERS } from './members.ts'
import { TEE } from './tee.ts'
import type { switches } from './vocabulary.ts'

export const SEV_POLICY = policyTable(TEE, MEMBERS, (text, hint) => sevError('ERR_SEV_POLICY_FILE', text, { hint }))

export type SevPolicy = PolicyOf<typeof MEMBERS>

/** @throws AttestError ERR_SEV_POLICY_FILE, naming the member */
export const readPolicyFile = (members: Readonly<Record<string, unknown>>, title: string): Policy =>
    SEV_POLICY.read(members, title) as unknown as Policy

/** The plugin's own view of a policy that `readPolicyFile` made. */
export const sevPolicy = (policy: Policy): SevPolicy => policy as unknown as SevPolicy

/** The strictest policy that this evidence passes, as commented TOML. */
export const writePolicyFile = ({ claims }: Pick<Authentic, 'claims'>): string => SEV_POLICY.write(claims)

/** @throws AttestError ERR_SEV_POLICY_* of the first check that fails */
export const appraise = ({ claims }: Authentic, policy: Policy, checks: Checks): void =>
    SEV_POLICY.appraise(sevPolicy(policy), claims, checks)

/** What the floor of a broker has against this guest. */
export function floor({ claims }: Authentic): FloorFinding[] {
    const says = (claim: string): boolean => claimAt(claims, claim) === true
    const risk = migrationRisk({ noSend: says('policy.noSend'), sev: says('policy.sev') })
    const findings: (FloorFinding & { readonly switch: keyof typeof switches; readonly found: boolean })[] = [
        {
            switch: 'insecureUnmeasuredCpuState',
            found: !says('policy.es'),
            detail: 'nothing of its processors was measured',
        },
        {
            switch: 'insecureMigration',
            found: risk !== null,
            detail: `the policy has ${risk}`,
        },
    ]
    return findings.filter(({ found }) => found).map(({ switch: name, detail }) => ({ switch: name, detail }))
}
