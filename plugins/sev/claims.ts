// What is known of a guest of SEV that has proved that it holds the key of its launch, as a table: the policy schema of
// brokers is made from it. The proof itself says which launch it was; all else stands in the broker's record of that
// launch: what the processor measured then, and the certificates that it was verified by.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { ClaimRow, ClaimTable, Provenance } from '#evidence/claims.ts'
import type { LaunchedGuest } from '#evidence/launch.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Api } from './chain/firmware.ts'
import { POLICY, readPolicy } from './launch/guest-policy.ts'
import { measuredOf, termsOf } from './launch/launched.ts'

const text = (from: Provenance, means: string): ClaimRow => ({ type: 'string', from, means })
const number = (means: string): ClaimRow => ({ type: 'long', from: 'hardware', means })

const POLICY_CLAIMS: ClaimTable = Object.fromEntries(
    Object.entries(POLICY.table).map(([name, { bits, means }]): [string, ClaimRow] => [
        name,
        { type: typeof bits === 'number' ? 'bool' : 'long', from: 'hardware', means },
    ]),
)

export const SEV_CLAIMS: ClaimTable = {
    launchId: text('verifier', 'launch id: of this launch of this guest alone'),
    guest: text('verifier', 'the UUID that its owner registered it by'),
    validated: text('verifier', 'when the launch was validated'),
    launchDigest: text('hardware', 'digest of what the guest was launched with'),
    policy: {
        type: POLICY_CLAIMS,
        from: 'hardware',
        means: 'what its owner lets the host do, which the processor enforces',
    },
    api: {
        type: { major: number('major'), minor: number('minor'), build: number('build') },
        from: 'hardware',
        means: 'version of the platform’s firmware at the launch',
    },
    platform: {
        type: {
            productLine: {
                ...text('hardware', 'line of processors; absent where a root of the owner’s vouches'),
                optional: true,
            },
            chip: text('hardware', 'SHA-256 of the chip’s certificate'),
            owner: text('host', 'SHA-256 of the certificate of the platform’s owner, which signs itself'),
            fingerprint: text('hardware', 'SHA-256 of the certificates that the launch was bound to'),
        },
        from: 'hardware',
        means: 'where it was launched',
    },
    reportData: text('guest', 'what the guest put in: a challenge, a key'),
}

export function claimsOf(launched: LaunchedGuest, reportData: Buffer): Claims {
    const { digest, policy, apiMajor, apiMinor, buildId } = measuredOf(launched.measured)
    const { productLine, chip, owner, fingerprint } = launched.platform as Readonly<Record<string, string | null>>
    return {
        launchId: launched.id,
        guest: launched.vm,
        validated: launched.time,
        launchDigest: digest,
        policy: { ...readPolicy(policy) },
        api: { major: apiMajor, minor: apiMinor, build: buildId },
        platform: {
            productLine: productLine ?? null,
            chip: chip ?? null,
            owner: owner ?? null,
            fingerprint: fingerprint ?? null,
        },
        reportData: toHex(reportData),
    }
}

/** Whether roots of the owner vouch for the platform, instead of AMD's. */
export const hasOwnRoots = ({ terms }: LaunchedGuest): boolean => termsOf(terms).roots !== null

/** What the firmware that made the platform's keys was at least. */
export const leastApi = ({ terms }: LaunchedGuest): Api => termsOf(terms).least

/** Whether its owner has named the chips that it may be launched on. */
export const namesChips = ({ terms }: LaunchedGuest): boolean => termsOf(terms).chips !== null
