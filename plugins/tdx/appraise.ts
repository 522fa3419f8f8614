// Is it acceptable? An authentic quote against a policy, as a list of named checks; and what a broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { claimAt } from '#core/policy-table.ts'
import type { Authentic, FloorFinding, Policy } from '#evidence/verifier.ts'
import { hasServiceTd } from './claims.ts'
import { TDX_POLICY, tdxPolicy } from './policy.ts'
import type { switches } from './vocabulary.ts'

/** @throws AttestError ERR_TDX_POLICY_* of the first check that fails */
export const appraise = ({ claims }: Authentic, policy: Policy, checks: Checks): void =>
    TDX_POLICY.appraise(tdxPolicy(policy), claims, checks)

/** What the floor of a broker has against this evidence under this policy (none: no reference set matched). */
export function floor({ claims }: Authentic, policy: Policy | null): FloorFinding[] {
    const attribute = (name: string): boolean => claimAt(claims, `attributes.${name}`) === true
    const named = policy && tdxPolicy(policy)
    const findings: (FloorFinding & { readonly switch: keyof typeof switches; readonly found: boolean })[] = [
        {
            switch: 'insecureDebug',
            found: attribute('debug'),
            detail: 'the guest may be debugged by its host',
        },
        {
            // Bits that nobody has named yet count too.
            switch: 'insecureProfiling',
            found: (BigInt(`0x${String(claims['tdAttributes'])}`) & 0xfen) !== 0n,
            detail: 'the guest may be profiled by its host',
        },
        { switch: 'insecureMigration', found: attribute('migratable'), detail: 'the guest may be migrated' },
        {
            switch: 'insecureServiceTd',
            found: hasServiceTd(claims['mrServiceTd']),
            detail: 'a service TD is bound to the guest',
        },
        {
            // Where Intel's statements were given, a module that they do not name is no authentic one.
            switch: 'insecureUnknownModule',
            found: claims['tcbStatus'] === undefined && !named?.mrSeam,
            detail: 'neither a statement of Intel nor the reference set names the TDX module',
        },
    ]
    return findings.filter(({ found }) => found).map(({ switch: name, detail }) => ({ switch: name, detail }))
}
