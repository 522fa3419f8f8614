// What a verifier says: a verdict with its checks, claims, and what remains doubtful.
// SPDX-License-Identifier: Apache-2.0

import type { Check } from '#core/checks.ts'
import type { Claims } from '#core/policy-table.ts'

export type { Claims, ClaimValue } from '#core/policy-table.ts'

/**
 * accepted: authentic, and everything that the caller named holds. authentic: made by that vendor's hardware; signature,
 * chain, revocation and time hold. rejected: one of these does not. undecided: something that decides is missing.
 */
export type Verdict = 'accepted' | 'authentic' | 'rejected' | 'undecided'

/** A published attack on a platform, that a report of it cannot rule out. */
export interface Weakness {
    /** A short name: `BadRAM`. */
    readonly name: string
    /** What it lets an attacker do, and what answers it. */
    readonly means: string
    /** ISO 8601. */
    readonly published: string
    readonly source: string
}

export interface Judgement {
    readonly verdict: Verdict
    readonly tee: string
    /** Why it is rejected or undecided. */
    readonly code?: string
    readonly checks: readonly Check[]
    /** Null where the evidence is not authentic: nothing in it can be believed then. */
    readonly claims: Claims | null
    readonly weaknesses: readonly Weakness[]
}
