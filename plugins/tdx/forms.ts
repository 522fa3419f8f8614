// The forms in which a guest hands over its TDX evidence, and what a person should know of it first.
// SPDX-License-Identifier: Apache-2.0

import type { Evidence } from '#drivers/driver.ts'

export { toKbs } from './kbs-evidence.ts'

/** The quote: the inverse of recognise.ts. An event log has no place in it. */
export const toRaw = ({ report }: Evidence): Buffer => report

export const notes = ({ eventLog }: Evidence): readonly string[] =>
    eventLog ? ['the event log tells what was booted, the command line of the kernel too'] : []
