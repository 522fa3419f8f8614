// The floor under every policy: what a broker refuses unless the rule that permits says, by a switch of that name, that
// it knows. These are the findings that hold for every technology; each plugin adds its own.
// SPDX-License-Identifier: Apache-2.0

import { Checks } from '#core/checks.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import type { Authentic, FloorFinding, Verifier } from '#evidence/verifier.ts'
import { type BrokenReference, type Comparison, compare, type Mismatch, type ReferenceSet } from './references.ts'

/** Each switch, and what it lets through. */
export const COMMON_SWITCHES = {
    insecureCustomRoot: 'evidence that a root of the operator vouches for, not the vendor',
    insecureNoRevocation: 'evidence whose certificates were compared with no revocation list',
    insecureNoReference: 'a guest that no reference set knows: nobody can say what it runs',
    insecureAnyStatus: 'a guest that no reference set knows, on a platform that its vendor does not call up to date',
    insecureUnmeasuredInitrd: 'a guest whose measurement covers the firmware alone: the host chooses its initrd',
} as const satisfies Record<`insecure${string}`, string>

/** How a guest stands before any rule is asked. */
export interface Standing {
    /** Names of the reference sets that it matches. */
    readonly matched: readonly string[]
    readonly mismatches: readonly Mismatch[]
    readonly comparisons: readonly Comparison[]
    /** What the floor has against it, under the set that leaves the least. */
    readonly findings: readonly FloorFinding[]
}

export function standingOf(
    verifier: Verifier,
    authentic: Authentic,
    references: readonly (ReferenceSet | BrokenReference)[],
    now: Date,
): Standing {
    const comparisons = references.map((reference) => compare(verifier, authentic, reference, now))
    const matching = comparisons.flatMap(({ reference, mismatch }) =>
        mismatch === null && !('broken' in reference) ? reference : [],
    )
    const judged = (matching.length > 0 ? matching : [null]).map((set) => findingsUnder(verifier, authentic, set, now))
    return {
        matched: matching.map(({ name }) => name),
        mismatches: comparisons.flatMap(({ mismatch }) => mismatch ?? []),
        comparisons,
        findings: judged.reduce((least, findings) => (findings.length < least.length ? findings : least)),
    }
}

function findingsUnder(
    verifier: Verifier,
    authentic: Authentic,
    set: ReferenceSet | null,
    now: Date,
): readonly FloorFinding[] {
    // A set that matches has judged the status by its own policy.
    const status = set === null ? statusProblem(verifier, authentic, now) : null
    const common: readonly (FloorFinding & { switch: keyof typeof COMMON_SWITCHES; found: boolean })[] = [
        { switch: 'insecureCustomRoot', found: authentic.customRoot, detail: 'a root of the operator vouches for it' },
        { switch: 'insecureNoRevocation', found: !authentic.revocationChecked, detail: 'revocation was not checked' },
        { switch: 'insecureNoReference', found: set === null, detail: 'no reference set matches' },
        { switch: 'insecureAnyStatus', found: status !== null, detail: status ?? '' },
        {
            switch: 'insecureUnmeasuredInitrd',
            found: set?.coverage === 'firmware',
            detail: `the measurements of ${set?.name} cover the firmware alone`,
        },
    ]
    return [
        ...common.flatMap(({ found, switch: name, detail }) => (found ? { switch: name, detail } : [])),
        ...verifier.floor(authentic, set),
    ]
}

function statusProblem(verifier: Verifier, authentic: Authentic, now: Date): string | null {
    try {
        verifier.judgeStatus?.(authentic, null, now, new Checks(verifier.checkNames.status ?? []))
        return null
    } catch (error) {
        if (error instanceof AttestError) return messageOf(error)
        throw error
    }
}
