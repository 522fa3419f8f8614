// How commands show the published attacks that what they verified is open to.
// SPDX-License-Identifier: Apache-2.0

import type { Weakness } from '#evidence/verdict.ts'
import { print, styled } from './term.ts'

export function showWeaknesses(weaknesses: readonly Weakness[]): void {
    for (const { name, means, published, source } of weaknesses)
        print(styled('yellow', `known weakness: ${name} (${published}, ${source}): ${means}`))
}
