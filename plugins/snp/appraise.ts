// Is it acceptable? An authentic report against a policy, as a list of named checks; and what a broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Authentic, FloorFinding, Policy } from '#evidence/verifier.ts'
import { SNP_POLICY, snpPolicy } from './policy.ts'
import type { ProductLineName } from './tcb.ts'
import type { switches } from './vocabulary.ts'

/** @throws AttestError ERR_SNP_POLICY_* of the first check that fails */
export const appraise = ({ claims }: Authentic, policy: Policy, checks: Checks): void =>
    SNP_POLICY.appraise(snpPolicy(policy), claims, checks)

/** What the floor of a broker has against this evidence under this set's policy (none: no reference set matched). */
export function floor({ claims }: Authentic, set: { readonly policy: Policy } | null): FloorFinding[] {
    const line = claims['productLine'] as ProductLineName
    const p = set && snpPolicy(set.policy)
    const isVlek = claims['signingKey'] === 'VLEK'
    const findings: (FloorFinding & { readonly switch: keyof typeof switches; readonly found: boolean })[] = [
        {
            switch: 'insecureDebug',
            found: bit(claims, 'debugAllowed'),
            detail: 'the guest may be debugged by its host',
        },
        { switch: 'insecureMigration', found: bit(claims, 'migrationAllowed'), detail: 'the guest may be migrated' },
        { switch: 'insecureVmpl', found: claims['vmpl'] !== 0, detail: `the report speaks for VMPL ${claims['vmpl']}` },
        { switch: 'insecureAnyProductLine', found: !p?.productLines, detail: 'no product lines are named' },
        {
            switch: 'insecureNoMinimumTcb',
            found: !p?.minimumTcb?.[line],
            detail: `no minimum TCB is named for ${line}`,
        },
        {
            switch: 'insecureAnyVlekProvider',
            found: isVlek && !p?.vlekProviders,
            detail: 'no VLEK providers are named',
        },
    ]
    return findings.filter(({ found }) => found).map(({ switch: name, detail }) => ({ switch: name, detail }))
}

const bit = (claims: Claims, name: string): boolean => (claims['policy'] as Claims)[name] === true
