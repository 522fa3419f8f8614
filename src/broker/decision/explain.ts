// One decision, walked through for an operator: authentic, reference sets, floor, rules, counts. Unlike the answer to a
// guest it names everything that was compared.
// SPDX-License-Identifier: Apache-2.0

import { type Check, Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import type { Evidence } from '#drivers/driver.ts'
import { authenticate } from '#evidence/authenticate.ts'
import type { Claims, Weakness } from '#evidence/verdict.ts'
import type { Authentic, Verifier } from '#evidence/verifier.ts'
import { type Decision, decide, type Question } from './decide.ts'
import type { Rule } from './policies.ts'

export interface Explanation {
    readonly path: string
    readonly releases: boolean
    readonly code: string | null
    readonly reason: string
    readonly rule: string | null
    readonly freshness: string
    readonly evidence: {
        readonly tee: string
        readonly authentic: boolean
        readonly checks: readonly Check[]
        readonly claims: Claims | null
        readonly weaknesses: readonly Weakness[]
    }
    /** Null: there is no such resource, and the rules are asked about an opaque one. */
    readonly resource: {
        readonly version: number
        readonly kind: string
        readonly releases: number
        readonly maxReleases: number | null
    } | null
    readonly references: readonly {
        readonly name: string
        readonly matches: boolean
        /** The check that failed, and its detail. */
        readonly check: string | null
        readonly detail: string | null
        readonly checks: readonly Check[]
    }[]
    readonly floor: readonly { readonly switch: string; readonly detail: string; readonly means: string }[]
    readonly rules: {
        /** How many there are. */
        readonly total: number
        readonly permits: readonly ExplainedRule[]
        readonly forbids: readonly ExplainedRule[]
        readonly errors: readonly string[]
    }
}

interface ExplainedRule {
    readonly id: string
    readonly at: string
    /** Findings of the floor that it does not let through. */
    readonly lacks: readonly string[]
    readonly maxReleases: number | null
    readonly released: number
}

export interface ExplainOptions extends Omit<Question, 'authentic'> {
    readonly evidence: Evidence
    readonly resource: Explanation['resource']
    /** Every switch, and what it lets through. */
    readonly switches: Readonly<Record<string, string>>
}

const FRESHNESS =
    'not checked: this is a file; a guest that asks must bind its evidence to the challenge of its session'

export function explain(options: ExplainOptions): Explanation {
    const { verifier, evidence, target, resource, policies, now } = options
    const checks = new Checks(verifier.checkNames.authentic)
    const common = { path: target.path, freshness: FRESHNESS, resource }
    let authentic: Authentic
    try {
        authentic = authenticate(verifier, evidence, now, checks)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return {
            ...common,
            releases: false,
            code: error.code,
            reason: `the evidence is not authentic: ${error.message}`,
            rule: null,
            evidence: describe(verifier, checks, null),
            references: [],
            floor: [],
            rules: { total: policies.rules.length, permits: [], forbids: [], errors: [] },
        }
    }
    const decision = decide({ ...options, authentic })
    const { standing, evaluation, rule } = decision
    const missing = resource === null
    return {
        ...common,
        releases: decision.allow && !missing,
        code: decision.code ?? (missing ? 'ERR_KBS_NOT_FOUND' : null),
        reason: missing && decision.allow ? `${decision.reason}, but there is no such resource` : decision.reason,
        rule: rule?.id ?? null,
        evidence: describe(verifier, checks, authentic),
        references: standing.comparisons.map(({ reference, mismatch, checks: list }) => ({
            name: reference.name,
            matches: mismatch === null,
            check: mismatch?.check ?? null,
            detail: mismatch?.detail ?? null,
            checks: list,
        })),
        floor: standing.findings.map((finding) => ({ ...finding, means: options.switches[finding.switch] ?? '' })),
        rules: {
            total: policies.rules.length,
            permits: evaluation.permits.map((permit) => explainRule(permit, decision, options)),
            forbids: evaluation.forbids.map((forbid) => explainRule(forbid, decision, options)),
            errors: evaluation.errors,
        },
    }
}

const describe = (verifier: Verifier, checks: Checks, authentic: Authentic | null): Explanation['evidence'] => ({
    tee: verifier.tee,
    authentic: authentic !== null,
    checks: checks.all(),
    claims: authentic?.claims ?? null,
    weaknesses: authentic?.weaknesses ?? [],
})

const explainRule = (
    { id, file, line, maxReleases }: Rule,
    { lacking }: Decision,
    { counts }: ExplainOptions,
): ExplainedRule => ({
    id,
    at: `${file}:${line}`,
    lacks: lacking.find(({ rule }) => rule === id)?.switches ?? [],
    maxReleases,
    released: counts?.byRule(id) ?? 0,
})
