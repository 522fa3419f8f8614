// A list of named checks: each passes, fails or is skipped, and says what was compared.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from './errors.ts'

export interface Check {
    readonly name: string
    readonly result: 'pass' | 'fail' | 'skipped'
    /** What was compared, expected and got; or why it was not checked. */
    readonly detail: string
    readonly code?: string
    /** What can be done about a failure. */
    readonly hint?: string
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
        const outcome = this.#attempt(name, check)
        this.list.push({ name, result: 'pass', detail: outcome.detail })
        return outcome
    }

    /** A check that may have nothing to compare with: null is listed as skipped, with the reason. */
    runIfNamed(name: string, why: string, check: () => { readonly detail: string } | null): void {
        const outcome = this.#attempt(name, check)
        if (outcome === null) this.skip(name, why)
        else this.list.push({ name, result: 'pass', detail: outcome.detail })
    }

    /** One check whose failure does not end the list: undefined where it failed, and the next ones go without. */
    tryRun<T extends { readonly detail: string }>(name: string, check: () => T): T | undefined {
        const before = this.list.length
        try {
            return this.run(name, check)
        } catch (error) {
            // What is not recorded is no failure of the check but a mistake of ours.
            if (this.list.length === before) throw error
            return undefined
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

    #attempt<T>(name: string, check: () => T): T {
        try {
            return check()
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            const hint = error.hint === undefined ? {} : { hint: error.hint }
            this.list.push({ name, result: 'fail', detail: messageOf(error), code: error.code, ...hint })
            throw error
        }
    }
}
