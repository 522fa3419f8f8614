// Is it authentic? A proof of possession against the key of the launch that it names. That key is in two places: with the
// broker that validated the launch, and in the guest's memory, into which the platform's processor has put it.
// SPDX-License-Identifier: Apache-2.0

import { toBase64Url } from '#core/bytes.ts'
import type { Checks } from '#core/checks.ts'
import { claimAt } from '#core/policy-table.ts'
import type { Evidence } from '#drivers/driver.ts'
import type { LaunchedGuest, LaunchedGuests } from '#evidence/launch.ts'
import type { Authentic } from '#evidence/verifier.ts'
import { claimsOf, hasOwnRoots, leastApi, namesChips } from './claims.ts'
import { sevError } from './errors.ts'
import { isMadeWith, parsePossession } from './possession.ts'
import { TEE } from './tee.ts'
import { weaknessesOf } from './weaknesses.ts'

/** The checks in their order. */
export const AUTHENTIC_CHECKS = ['format', 'launch', 'possession'] as const

/** @throws AttestError ERR_SEV_POSSESSION, ERR_SEV_POSSESSION_KEY, ERR_SEV_NOT_LAUNCHED */
export function authenticate({ report }: Evidence, launches: LaunchedGuests | undefined, checks: Checks): Authentic {
    const { proof } = checks.run('format', () => {
        const parsed = parsePossession(report)
        return { detail: 'a proof of possession', proof: parsed }
    })
    const { launched } = checks.run('launch', () => {
        const found = findLaunch(launches, toBase64Url(proof.launchId))
        return { detail: `of ${found.vm}, validated ${found.time}`, launched: found }
    })
    checks.run('possession', () => {
        if (launched.withKey((key) => isMadeWith(key, proof))) return { detail: 'made with the key of that launch' }
        throw sevError('ERR_SEV_POSSESSION', 'the proof was not made with the key of the launch that it names')
    })
    const claims = claimsOf(launched, proof.reportData)
    const productLine = claimAt(claims, 'platform.productLine')
    return {
        tee: TEE,
        claims,
        reportData: proof.reportData,
        measurement: String(claims['launchDigest']),
        guestId: launched.id,
        customRoot: hasOwnRoots(launched),
        // AMD publishes no list of these chips' certificates: an owner who names the chips needs none.
        revocationChecked: namesChips(launched),
        emulated: false,
        weaknesses: weaknessesOf({
            productLine: typeof productLine === 'string' ? productLine : null,
            madeBy: leastApi(launched),
        }),
        allowPaths: launched.allowPaths,
    }
}

function findLaunch(launches: LaunchedGuests | undefined, id: string): LaunchedGuest {
    if (!launches)
        throw sevError('ERR_SEV_POSSESSION_KEY', 'nobody but the broker that launched this guest has the key', {
            hint: '`guest-attest broker explain` asks it',
        })
    const found = launches.find(id)
    if (found) return found
    throw sevError('ERR_SEV_NOT_LAUNCHED', 'no launch of this broker has that launch id, or its key has ended')
}
