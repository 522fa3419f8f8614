// The form of a time on the command line: ISO 8601 with its offset, or a date alone, which is its midnight in UTC. A time
// without an offset would be that of whatever machine it is typed on.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'

const FORM = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/

/** @throws AttestError ERR_USAGE, also for a day that its month has not */
export function parseTime(text: string, option: string): Date {
    const [, day] = FORM.exec(text) ?? []
    const time = new Date(text)
    if (day !== undefined && !Number.isNaN(time.getTime()) && isDay(day)) return time
    throw coreError('ERR_USAGE', `${option}: expected a time like 2026-01-31T12:00:00Z, got ${JSON.stringify(text)}`)
}

// Date takes 31 February for 3 March.
const isDay = (day: string): boolean => new Date(day).toISOString().startsWith(day)
