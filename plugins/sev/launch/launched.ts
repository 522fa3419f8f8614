// What a broker keeps of a guest and of its launch, in this technology's own words. It has recorded what `register` and
// `validate` returned, and gives the same back: here the types come back to it.
// SPDX-License-Identifier: Apache-2.0

import type { LaunchTerms } from '#evidence/launch.ts'
import type { FirmwareVersion } from '../chain/firmware.ts'

/** What lasts of a registration; bytes in hex or base64. */
export interface Terms {
    readonly policy: number
    readonly es: boolean
    readonly digests: readonly string[]
    readonly least: FirmwareVersion
    readonly chips: readonly string[] | null
    /** Signed certificates by the chip that they are of, as `chips` names it: a host's request finds one, and reads no other. */
    readonly ceks: Readonly<Record<string, string>>
    readonly owner: string | null
    readonly roots: readonly string[] | null
    /** Room of the firmware for secrets. */
    readonly area: number
}

/** What a processor measured of a launch that was validated. */
export interface MeasuredLaunch extends FirmwareVersion {
    /** Hex. */
    readonly digest: string
    readonly policy: number
}

export const termsOf = (recorded: LaunchTerms): Terms => recorded as unknown as Terms

export const measuredOf = (recorded: LaunchTerms): MeasuredLaunch => recorded as unknown as MeasuredLaunch
