// What a verifier says: named checks, a verdict, claims, and what remains doubtful.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from '#core/errors.ts'

/**
 * accepted: authentic, and everything that the caller named holds. authentic: made by that vendor's hardware; signature,
 * chain, revocation and time hold. rejected: one of these does not. undecided: something that decides is missing.
 */
export type Verdict = 'accepted' | 'authentic' | 'rejected' | 'undecided'

export interface Check {
    readonly name: string
    readonly result: 'pass' | 'fail' | 'skipped'
    /** What was compared, expected and got; or why it was not checked. */
    readonly detail: string
    readonly code?: string
}

/** A value that evidence claims: text and numbers, words of 64 bits as lower-case hex. */
export type ClaimValue = string | number | boolean | null | Claims | readonly ClaimValue[]
export interface Claims {
    readonly [name: string]: ClaimValue
}

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

/** Runs named checks in their order and remembers what each said. The names are known before: what is not reached is listed. */
export class Checks {
    readonly list: Check[] = []
    readonly #names: readonly string[]

    constructor(names: readonly string[]) {
        this.#names = names
    }

    /**
     * One check. What it returns is for the next ones, and says in `detail` what was compared.
     * @throws what the check throws, after it is recorded
     */
    run<T extends { readonly detail: string }>(name: string, check: () => T): T {
        try {
            const outcome = check()
            this.list.push({ name, result: 'pass', detail: outcome.detail })
            return outcome
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            this.list.push({ name, result: 'fail', detail: messageOf(error), code: error.code })
            throw error
        }
    }

    skip(name: string, why: string): void {
        this.list.push({ name, result: 'skipped', detail: why })
    }

    /** Every check, those that were not reached too. */
    all(): Check[] {
        const done = new Set(this.list.map(({ name }) => name))
        const rest = this.#names.filter((name) => !done.has(name))
        return [...this.list, ...rest.map((name) => ({ name, result: 'skipped' as const, detail: 'not reached' }))]
    }
}
