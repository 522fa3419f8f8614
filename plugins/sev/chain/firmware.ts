// Versions of a platform's firmware: the API it speaks, and its build. Certificates carry the API alone.
// SPDX-License-Identifier: Apache-2.0

import { sevError } from '../errors.ts'

/** What certificates say of the firmware that made them: they have no build. */
export interface Api {
    readonly apiMajor: number
    readonly apiMinor: number
}

/** The firmware of a platform. Its word comes through the host; the measurement covers it. */
export interface FirmwareVersion extends Api {
    readonly buildId: number
}

/** The first API whose packets are bound to their launch. */
export const LEAST_API = { apiMajor: 0, apiMinor: 17, buildId: 0 } as const satisfies FirmwareVersion

/** Of an API alone, its first build counts. */
export const isAtLeast = (version: Api | FirmwareVersion, least: Api | FirmwareVersion): boolean =>
    orderOf(version) >= orderOf(least)

export const formatFirmware = (version: Api | FirmwareVersion): string => {
    const { apiMajor, apiMinor } = version
    return `${apiMajor}.${apiMinor}${'buildId' in version ? ` build ${version.buildId}` : ''}`
}

/** @throws AttestError ERR_SEV_API where the firmware is older than `least`, or than API 0.17 */
export function requireFirmware(version: FirmwareVersion, least: FirmwareVersion): void {
    const numbers = [version.apiMajor, version.apiMinor, version.buildId]
    if (!numbers.every((number) => Number.isInteger(number) && number >= 0 && number <= 0xff))
        throw sevError('ERR_SEV_API', `firmware ${formatFirmware(version)}: expected three numbers from 0 to 255`)
    if (!isAtLeast(version, LEAST_API))
        throw sevError(
            'ERR_SEV_API',
            `firmware ${formatFirmware(version)}: before API 0.17 a packet of secrets is not bound to its launch`,
        )
    if (!isAtLeast(version, least))
        throw sevError('ERR_SEV_API', `firmware ${formatFirmware(version)}: expected at least ${formatFirmware(least)}`)
}

// The API is one number of 16 bits, the build counts where that is the same.
const orderOf = (version: Api | FirmwareVersion): number =>
    version.apiMajor * 0x10000 + version.apiMinor * 0x100 + ('buildId' in version ? version.buildId : 0)
