// Is it acceptable? An authentic quote against a policy, as a list of named checks; and what a broker's floor says.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { claimAt } from '#core/policy-table.ts'
import type { Authentic, Coverage, FloorFinding, Policy } from '#evidence/verifier.ts'
import { PROFILING_ATTRIBUTES } from './attributes.ts'
import { hasServiceTd } from './claims.ts'
import { isMeasured, TDX_POLICY, tdxPolicy } from './policy.ts'
import type { switches } from './vocabulary.ts'

type Switch = keyof typeof switches

/** It is no row of the vocabulary, so that no rule can name it. */
const NO_SWITCH = 'insecureRevokedPlatform'

/** @throws AttestError ERR_TDX_POLICY_* of the first check that fails */
export const appraise = ({ claims }: Authentic, policy: Policy, checks: Checks): void =>
    TDX_POLICY.appraise(tdxPolicy(policy), claims, checks)

/** What the floor of a broker has against this evidence under this set (none: no reference set matched). */
export function floor(
    { claims }: Authentic,
    set: { readonly policy: Policy; readonly coverage: Coverage } | null,
): FloorFinding[] {
    const attribute = (name: string): boolean => claimAt(claims, `attributes.${name}`) === true
    const named = set && tdxPolicy(set.policy)
    const findings: (FloorFinding & { readonly switch: Switch | typeof NO_SWITCH; readonly found: boolean })[] = [
        {
            switch: NO_SWITCH,
            found: claims['tcbStatus'] === 'Revoked',
            detail: 'Intel has revoked the firmware of this platform: no switch lets it through',
        },
        {
            switch: 'insecureDebug',
            found: attribute('debug'),
            detail: 'the guest may be debugged by its host',
        },
        {
            switch: 'insecureProfiling',
            found: (BigInt(`0x${String(claims['tdAttributes'])}`) & PROFILING_ATTRIBUTES) !== 0n,
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
        {
            // What covers the firmware alone has a finding of its own, which says more.
            switch: 'insecureUnmeasuredMachine',
            found: set !== null && set.coverage !== 'firmware' && !isMeasured(named?.rtmr0),
            detail: 'the reference set does not name RTMR0: the host chooses ACPI tables and UEFI variables',
        },
    ]
    return findings.filter(({ found }) => found).map(({ switch: name, detail }) => ({ switch: name, detail }))
}
