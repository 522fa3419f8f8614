// The numbers and names of `broker launch register`: what is out of range is said by the option that it was given with.
// SPDX-License-Identifier: Apache-2.0

import { LAUNCH_RANGES, MAX_ALLOW_PATHS } from '#broker/launch-limits.ts'
import { coreError } from '#core/errors.ts'
import { parseOrigin } from '#core/http.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { PATH_PATTERN } from '#kbs/patterns.ts'
import { sevOwner } from '#plugins.ts'

const BYTE = { least: 0, most: 0xff }

const RANGES: Readonly<Record<string, { readonly least: number; readonly most: number }>> = {
    ...LAUNCH_RANGES,
    'min-api-major': BYTE,
    'min-api-minor': BYTE,
    'min-build-id': BYTE,
    'area-size': { least: 1, most: MAX_SECRET_AREA },
}

export const rangeOf = (option: string): string => {
    const { least, most } = RANGES[option] as (typeof RANGES)[string]
    return `${least} to ${most}`
}

export interface Numbers {
    readonly maxLaunches: number
    readonly confirmAfter?: number | undefined
    readonly minApiMajor?: number | undefined
    readonly minApiMinor?: number | undefined
    readonly minBuildId?: number | undefined
}

/** @throws AttestError ERR_USAGE */
export async function checkNumbers(args: Numbers): Promise<void> {
    for (const [option, { least, most }] of Object.entries(RANGES)) {
        const value = (args as unknown as Readonly<Record<string, unknown>>)[option]
        if (typeof value === 'number' && (value < least || value > most))
            throw coreError('ERR_USAGE', `--${option}: expected ${rangeOf(option)}, got ${value}`)
    }
    const { maxLaunches, confirmAfter } = args
    if (confirmAfter !== undefined && confirmAfter >= maxLaunches)
        throw coreError(
            'ERR_USAGE',
            `--confirm-after ${confirmAfter}: no launch would wait, --max-launches is ${maxLaunches}`,
            { hint: 'take fewer, or more launches: --max-launches 20 --confirm-after 3' },
        )
    await checkLeast(args)
}

// Each number counts where those before it are the same.
async function checkLeast({ minApiMajor, minApiMinor, minBuildId }: Numbers): Promise<void> {
    const { LEAST_API } = await sevOwner()
    const stray = (option: string, without: string) =>
        coreError('ERR_USAGE', `--${option} is nothing without --${without}`, {
            hint: '--min-api-major 1 --min-api-minor 55 --min-build-id 21',
        })
    if (minApiMajor === undefined) {
        if (minApiMinor !== undefined) throw stray('min-api-minor', 'min-api-major')
        if (minBuildId !== undefined) throw stray('min-build-id', 'min-api-major')
        return
    }
    if (minApiMinor === undefined && minBuildId !== undefined) throw stray('min-build-id', 'min-api-minor')
    const { apiMajor, apiMinor } = LEAST_API
    if (minApiMajor < apiMajor || (minApiMajor === apiMajor && (minApiMinor ?? 0) < apiMinor))
        throw coreError(
            'ERR_USAGE',
            `--min-api-major ${minApiMajor}, --min-api-minor ${minApiMinor ?? 0}: ${apiMajor}.${apiMinor} is the least that is ever accepted`,
            { hint: 'before it a packet of secrets is not bound to its launch' },
        )
}

/** What a guest is told of its broker. @throws AttestError ERR_USAGE, ERR_URL */
export function checkAddress(brokerUrl: string | undefined, allowPath: readonly string[]): void {
    if (brokerUrl !== undefined) parseOrigin(brokerUrl)
    const stray = allowPath.find((pattern) => !PATH_PATTERN.test(pattern))
    if (stray !== undefined)
        throw coreError('ERR_USAGE', `--allow-path: expected REPOSITORY/TYPE/TAG, got ${JSON.stringify(stray)}`, {
            hint: "three names, * for any text within one: --allow-path 'web/*/*'",
        })
    if (allowPath.length > MAX_ALLOW_PATHS)
        throw coreError('ERR_USAGE', `--allow-path: ${allowPath.length} of them, at most ${MAX_ALLOW_PATHS}`)
}
