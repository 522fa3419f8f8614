// Days, as certificates, statements and policies count and name them.
// SPDX-License-Identifier: Apache-2.0

/** A day in milliseconds. */
export const DAY_MS = 24 * 60 * 60 * 1000

/** The day of a date in UTC: `2026-11-20`. */
export const day = (date: Date): string => date.toISOString().slice(0, 10)
