// What a denied guest is told: which of its claims failed and its own value, never what would be accepted.
// SPDX-License-Identifier: Apache-2.0

import type { ClaimValue } from '#evidence/verdict.ts'
import type { Authentic, Verifier } from '#evidence/verifier.ts'
import type { Decision, DenialCode } from './decide.ts'

/** Claims that are named at most: with many sets, many may differ. */
const MAX_NAMED = 4

/** Of the value of a claim, in characters: a guest may choose it. */
const MAX_TOLD = 1024

/** A sentence for the guest. */
export function publicReason(decision: Decision, authentic: Authentic, verifier: Verifier): string {
    return SENTENCES[decision.code ?? 'ERR_BROKER_DENIED_POLICY'](decision, authentic, verifier)
}

const SENTENCES: Record<DenialCode, (decision: Decision, authentic: Authentic, verifier: Verifier) => string> = {
    ERR_BROKER_DENIED_REFERENCE: ({ standing }, authentic, verifier) => {
        const failed = [...new Set(standing.mismatches.map(({ check }) => check))].slice(0, MAX_NAMED)
        const own = failed.map((check) => ownValue(check, authentic, verifier))
        return `no reference set knows this guest${own.length > 0 ? `: ${own.join('; ')}` : ''}`
    },
    ERR_BROKER_DENIED_FLOOR: ({ standing, lacking }) => {
        // Of the rules that would permit, the one that lacks least.
        const least = lacking.reduce(
            (a, b) => (b.switches.length < a.length ? b.switches : a),
            switchesOf(standing.findings),
        )
        return `the broker refuses this guest: ${least.join(', ')}`
    },
    ERR_BROKER_DENIED_POLICY: () => 'no rule of the broker permits this guest to have this resource',
    ERR_BROKER_DENIED_EVALUATION: () => 'the rules of the broker could not be evaluated for this guest',
    ERR_BROKER_DENIED_ENDED: () => 'what this guest has proved itself with does not count any more',
    ERR_BROKER_DENIED_PATH: () => 'the owner of this guest has not registered it for this resource',
    ERR_BROKER_DENIED_COUNT: () => 'this resource was released as often as it may be',
}

function ownValue(check: string, authentic: Authentic, verifier: Verifier): string {
    const claim = verifier.appraisedClaims[check]
    if (claim === undefined) return `${check} does not hold`
    const value = claim.split('.').reduce<ClaimValue | undefined>(member, authentic.claims)
    const text = value === undefined ? 'absent' : JSON.stringify(value)
    return `${check} does not hold, this guest has ${claim} ${text.length > MAX_TOLD ? '(too long to be told)' : text}`
}

const member = (value: ClaimValue | undefined, name: string): ClaimValue | undefined =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
        ? (value as Readonly<Record<string, ClaimValue>>)[name]
        : undefined

const switchesOf = (findings: readonly { readonly switch: string }[]): readonly string[] =>
    findings.map((finding) => finding.switch)
