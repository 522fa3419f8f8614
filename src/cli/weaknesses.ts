// How commands show the published attacks that what they verified is open to.
// SPDX-License-Identifier: Apache-2.0

import { type Weakness, weaknessText } from '#evidence/verdict.ts'
import { print, styled } from './term.ts'

export function showWeaknesses(weaknesses: readonly Weakness[]): void {
    for (const weakness of weaknesses) print(styled('yellow', `known weakness: ${weaknessText(weakness)}`))
}
