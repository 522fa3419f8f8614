// What a test needs of the machine. Where that is missing the test is skipped, and its title says why: `… [needs X]`;
// the runner (run.ts) gathers these at the end.
// SPDX-License-Identifier: Apache-2.0

import test, { type Implementation } from 'ava'
import type { Need } from './machine.ts'

type Declare = (title: string, implementation: Implementation<[]>) => void

/** `test`, or `test.skip` with the reason in the title; `.serial` for those that run one after the other. */
export function needs(...all: readonly Need[]): Declare & { readonly serial: Declare } {
    const missing = all.filter(({ met }) => !met).map(({ what }) => what)
    const skip: Declare = (title, implementation) => test.skip(`${title} [needs ${missing.join(', ')}]`, implementation)
    const [parallel, serial] = missing.length === 0 ? [declare(test), declare(test.serial)] : [skip, skip]
    return Object.assign(parallel, { serial })
}

const declare =
    (add: typeof test | typeof test.serial): Declare =>
    (title, implementation) =>
        add(title, implementation)
