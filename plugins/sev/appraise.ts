// Is it acceptable? A guest that holds the key of its launch against a policy, as a list of named checks; and what a
// broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { claimAt } from '#core/policy-table.ts'
import type { Authentic, FloorFinding, Policy } from '#evidence/verifier.ts'
import { migrationRisk } from './launch/guest-policy.ts'
import { SEV_POLICY, sevPolicy } from './policy.ts'
import type { switches } from './vocabulary.ts'

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
