// What the owner of a guest may say of its launches, in numbers: least and most.
// SPDX-License-Identifier: Apache-2.0

interface Range {
    readonly least: number
    readonly most: number
}

const DAY_S = 86_400

export const LAUNCH_RANGES = {
    'max-launches': { least: 1, most: 1_000_000 },
    /** Less than `max-launches`. */
    'confirm-after': { least: 0, most: 999_999 },
    'max-open': { least: 1, most: 64 },
    'launch-seconds': { least: 10, most: DAY_S },
    'client-seconds': { least: 60, most: 366 * DAY_S },
} as const satisfies Readonly<Record<string, Range>>

export const MAX_ALLOW_PATHS = 16
