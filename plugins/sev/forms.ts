// The forms in which a guest hands over its proof of possession, and what a person should know of it first.
// SPDX-License-Identifier: Apache-2.0

import type { Evidence } from '#drivers/driver.ts'

export { toKbs } from './kbs-evidence.ts'

export const toRaw = ({ report }: Evidence): Buffer => report

export const notes = (_evidence: Evidence): readonly string[] => [
    'it proves that this guest holds the key of its launch, to the broker that launched it and to nobody else',
]
