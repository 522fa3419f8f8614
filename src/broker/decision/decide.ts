// Would a broker release this resource to this guest? One function, for the route and for `broker explain`:
// whether its proof counts still, and for this path, then reference sets, the floor, the rules, and the counts.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from '#core/errors.ts'
import type { Authentic, Verifier } from '#evidence/verifier.ts'
import { matchesPath } from '#kbs/patterns.ts'
import type { BrokerCode } from '../errors.ts'
import { type Standing, standingOf } from './floor.ts'
import type { Evaluation, Policies, Rule } from './policies.ts'
import type { BrokenReference, ReferenceSet } from './references.ts'
import type { Target } from './schema.ts'

export type DenialCode = Extract<BrokerCode, `ERR_BROKER_DENIED_${string}`>

/** How often it was released already. */
export interface Counts {
    /** This version of the resource, and how often it may be. */
    readonly resource: number
    readonly maxReleases: number | null
    /** This path by a rule. */
    byRule(rule: string): number
}

export interface Question {
    readonly verifier: Verifier
    readonly authentic: Authentic
    readonly target: Target
    readonly references: readonly (ReferenceSet | BrokenReference)[]
    readonly policies: Policies
    /** Null: a repetition, which was counted when it was released first. */
    readonly counts: Counts | null
    readonly now: Date
}

export interface Decision {
    readonly allow: boolean
    /** Why not. */
    readonly code: DenialCode | null
    /** The same in words, for operators. */
    readonly reason: string
    /** The permit that releases. */
    readonly rule: Rule | null
    readonly standing: Standing
    readonly evaluation: Evaluation
    /** For each permit that holds: the findings that it does not let through. */
    readonly lacking: readonly { readonly rule: string; readonly switches: readonly string[] }[]
}

export function decide(question: Question): Decision {
    const { verifier, authentic, target, references, policies, counts, now } = question
    const standing = standingOf(verifier, authentic, references, now)
    const evaluation = evaluate(policies, authentic, standing, target)
    const { permits, forbids, errors } = evaluation
    const lacking = permits.map((rule) => ({
        rule: rule.id,
        switches: standing.findings.map((finding) => finding.switch).filter((name) => !rule.switches.has(name)),
    }))
    const decision = { standing, evaluation, lacking }
    const deny = (code: DenialCode, reason: string): Decision => ({
        allow: false,
        code,
        reason,
        rule: null,
        ...decision,
    })

    if (verifier.stillHolds?.(authentic) === false)
        return deny('ERR_BROKER_DENIED_ENDED', 'what the guest proved itself with has ended since')
    // The guest was told these paths; that it keeps to them is not left to it.
    if (authentic.allowPaths?.some((pattern) => matchesPath(pattern, target.path)) === false)
        return deny('ERR_BROKER_DENIED_PATH', `its owner registered it for ${authentic.allowPaths.join(', ')}`)
    if (errors.length > 0) return deny('ERR_BROKER_DENIED_EVALUATION', errors.join('; '))
    if (forbids.length > 0) return deny('ERR_BROKER_DENIED_POLICY', `forbidden by ${names(forbids)}`)
    if (permits.length === 0) {
        if (standing.matched.length === 0) return deny('ERR_BROKER_DENIED_REFERENCE', noMatch(standing))
        return deny(
            'ERR_BROKER_DENIED_POLICY',
            policies.rules.length === 0 ? 'there is no policy' : 'no rule permits it',
        )
    }
    // One rule carries every finding; what two rules let through together, neither of their authors has meant.
    const whole = permits.filter((_, index) => lacking[index]?.switches.length === 0)
    if (whole.length === 0) {
        const code = standing.matched.length === 0 ? 'ERR_BROKER_DENIED_REFERENCE' : 'ERR_BROKER_DENIED_FLOOR'
        const texts = lacking.map(
            ({ rule, switches }) => `${rule} lacks ${switches.map((name) => `@${name}`).join(' ')}`,
        )
        return deny(code, texts.join('; '))
    }
    if (counts && counts.maxReleases !== null && counts.resource >= counts.maxReleases)
        return deny(
            'ERR_BROKER_DENIED_COUNT',
            `the resource was released ${counts.resource} times, at most ${counts.maxReleases} are allowed`,
        )
    // A rule without a bound comes before one that would be used up.
    const ordered = whole.toSorted(
        (a, b) => Number(a.maxReleases !== null) - Number(b.maxReleases !== null) || (a.id < b.id ? -1 : 1),
    )
    const rule = ordered.find(
        ({ id, maxReleases }) => !counts || maxReleases === null || counts.byRule(id) < maxReleases,
    )
    if (!rule) return deny('ERR_BROKER_DENIED_COUNT', `${names(whole)}: released as often as @maxReleases allows`)
    return { allow: true, code: null, reason: `permitted by ${rule.id} (${rule.file}:${rule.line})`, rule, ...decision }
}

function evaluate(policies: Policies, authentic: Authentic, { matched }: Standing, target: Target): Evaluation {
    try {
        return policies.evaluate(authentic, matched, target)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return { permits: [], forbids: [], errors: [messageOf(error)] }
    }
}

const names = (rules: readonly Rule[]): string =>
    rules.map(({ id, file, line }) => `${id} (${file}:${line})`).join(', ')

const noMatch = ({ mismatches }: Standing): string =>
    mismatches.length === 0
        ? 'there is no reference set'
        : `no reference set matches: ${mismatches.map(({ reference, check }) => `${reference} (${check})`).join(', ')}`
