// What a registration demands of a launch, line by line, for its owner to read.
// SPDX-License-Identifier: Apache-2.0

import type { LaunchTerms } from '#evidence/launch.ts'
import { formatFirmware } from '../chain/firmware.ts'
import { migrationRisk, readPolicy } from './guest-policy.ts'
import { termsOf } from './launched.ts'

/** More of them are counted. */
const MAX_SHOWN = 4

export function describeTerms(recorded: LaunchTerms): readonly string[] {
    const { policy, es, digests, least, chips, ceks, owner, roots, area } = termsOf(recorded)
    const signed = Object.keys(ceks).length
    const migrates = migrationRisk(readPolicy(policy)) !== null
    return [
        `policy 0x${policy.toString(16)}: ${es ? 'SEV-ES' : 'SEV, its processors are not measured'}${migrates ? ', its host may send it away' : ''}`,
        `launch digest: ${listed(digests)}`,
        `firmware of the platform: API ${formatFirmware(least)} or later`,
        `chip: ${chips ? listed(chips) : 'any'}`,
        `owner of the platform: ${owner === null ? 'anybody' : 'whose certificate was registered'}`,
        `root: ${roots ? 'the owner’s own' : 'AMD’s'}`,
        ...(signed > 0 ? [`certificates of chips with AMD’s signature: ${signed}`] : []),
        `room for secrets: ${area} bytes`,
    ]
}

function listed(values: readonly string[]): string {
    const shown = values.slice(0, MAX_SHOWN).join(' or ')
    return values.length > MAX_SHOWN ? `${shown}, or one of ${values.length - MAX_SHOWN} more` : shown
}
