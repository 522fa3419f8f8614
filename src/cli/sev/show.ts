// How the commands of `sev` show what they checked.
// SPDX-License-Identifier: Apache-2.0

import type { Check } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import type { Weakness } from '#evidence/verdict.ts'
import { columns, hint, MARKS, print, type Styled, styled } from '../term.ts'
import { showWeaknesses } from '../weaknesses.ts'

export interface Ending {
    readonly verdict: 'accepted' | 'authentic' | 'rejected' | 'undecided'
    readonly code?: string
}

/** What an error of a check comes to. @throws what is none: a mistake of ours */
export function verdictOf(error: unknown): Ending {
    if (!(error instanceof AttestError)) throw error
    return { verdict: error.exit === 3 ? 'undecided' : 'rejected', code: error.code }
}

export function showChecks(checks: readonly Check[], weaknesses: readonly Weakness[], last: string | Styled): void {
    const rows = checks.map(({ name, result, detail }) => [MARKS[result], name, detail])
    for (const line of columns(rows, '  ')) print(line)
    showWeaknesses(weaknesses)
    print(last)
    for (const { hint: text } of checks) if (text) hint(text)
}

const STYLES = { accepted: 'green', authentic: 'yellow', rejected: 'red', undecided: 'yellow' } as const

export const lastLine = ({ verdict, code }: Ending, text = verdict.toUpperCase()): Styled =>
    styled(STYLES[verdict], code === undefined ? text : `${text}: ${code}`)

/** Exit status of a verdict. */
export const exitOf = ({ verdict }: Ending): 0 | 1 | 3 => (verdict === 'accepted' ? 0 : verdict === 'rejected' ? 1 : 3)
