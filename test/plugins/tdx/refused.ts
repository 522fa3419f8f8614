// Tables of quotes that must be refused: with which code, and by which check.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { Trust } from '#evidence/verifier.ts'
import type { QuoteChanges } from '#plugins/tdx/mint/quote.ts'
import { judgeOf } from './judged.ts'
import { quote, trustIn, type Vendor } from './minted.ts'

/** A quote of a vendor, and what is other than it would be. */
export interface Given {
    readonly name: string
    readonly of?: Vendor
    readonly quote?: QuoteChanges
    readonly raw?: () => Buffer
    readonly trust?: Partial<Trust>
    readonly at?: Date
}

export interface Refused extends Given {
    readonly want: string
    /** The check that refuses it. */
    readonly check: string
}

/** What is said of it under trust in its vendor. */
export const judgedBy =
    (usual: Vendor) =>
    ({ of = usual, quote: changes, raw, trust, at }: Given) =>
        judgeOf(trustIn(of, trust))(raw?.() ?? quote(of, changes), at ?? of.now)

export const cases = (want: string, check: string, rows: readonly Given[]): Refused[] =>
    rows.map((row) => ({ ...row, want, check }))

/** A test for each. */
export function testRefused(usual: Vendor, all: readonly Refused[]): void {
    for (const { want, check, ...given } of all)
        test(`${want}: ${given.name}`, (t) => {
            const answer = judgedBy(usual)(given)
            t.is(answer.code, want, answer.message)
            t.is(answer.check, check, answer.message)
            t.true(answer.message.length > 0)
        })
}

/** A test for each that must be accepted. */
export function testAuthentic(usual: Vendor, all: readonly Given[]): void {
    for (const given of all)
        test(`authentic: ${given.name}`, (t) => {
            const { code, message, authentic } = judgedBy(usual)(given)
            t.is(code, null, message)
            t.true(authentic?.emulated)
            t.true(authentic?.customRoot)
        })
}
