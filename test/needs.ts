// What a test needs of the machine. Where that is missing the test is skipped, and its title says why: `… [needs X]`;
// the runner (run.ts) gathers these at the end.
// SPDX-License-Identifier: Apache-2.0

import test, { type Implementation } from 'ava'
import type { Need } from './machine.ts'

/** `test`, or `test.skip` with the reason in the title. */
export function needs(...all: readonly Need[]): (title: string, implementation: Implementation<[]>) => void {
    const missing = all.filter(({ met }) => !met).map(({ what }) => what)
    if (missing.length === 0) return (title, implementation) => test(title, implementation)
    return (title, implementation) => test.skip(`${title} [needs ${missing.join(', ')}]`, implementation)
}
