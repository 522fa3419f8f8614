// Published attacks that the chain of a platform and the measurement of a launch do not rule out, by product line. A dated
// table: add a row with its source when one is published; a row goes when no supported platform is open to it.
// SPDX-License-Identifier: Apache-2.0

import type { Weakness } from '#evidence/verdict.ts'
import { type Api, isAtLeast } from './chain/firmware.ts'
import type { AmdKey } from './roots.ts'

type Line = AmdKey['line']

interface Row extends Weakness {
    /** Absent: all of them, it is how SEV and SEV-ES are made. */
    readonly lines?: readonly Line[]
    /** Where the keys of a platform were made by firmware of that API or later. */
    readonly answeredByApi?: Api
}

export const WEAKNESSES: readonly Row[] = [
    {
        name: 'One Glitch to Rule Them All',
        means: 'whoever has had a chip of Zen 1 to 3 in hand has its keys, and can play a platform with them anywhere; the owner of a platform has it in hand: name chips whose owners are trusted, for naming them keeps out the keys of others alone',
        published: '2021-08-10',
        source: 'arXiv:2108.04575',
        lines: ['Naples', 'Rome', 'Milan'],
    },
    {
        // Up to build 11 of API 0.17; certificates have no build.
        name: 'invalid curve points',
        means: 'firmware up to API 0.17 gave its host the key that sessions are made with (PDH), and with it the secrets of each launch: demand an API of 0.18 or later, which its keys must have been made by',
        published: '2019-06-25',
        source: 'CVE-2019-9836',
        lines: ['Naples'],
        answeredByApi: { apiMajor: 0, apiMinor: 18 },
    },
    {
        name: 'undeSErVed trust',
        means: 'the measurement covers no addresses: a host that lays the firmware out in another order runs other code; only SEV-SNP measures them',
        published: '2021-05-11',
        source: 'CVE-2021-26311, AMD-SB-1004',
    },
    {
        name: 'SEVered',
        means: 'a host that exchanges pages of the guest reads its memory through a service of the guest: only SEV-SNP protects their integrity',
        published: '2018-05-24',
        source: 'arXiv:1805.09604',
    },
]

export interface Platform {
    /** Not known: it may be any. */
    readonly productLine: string | null
    /** The least API that its keys were made by. */
    readonly madeBy: Api
}

/** The rows that a platform is open to. */
export const weaknessesOf = ({ productLine, madeBy }: Platform): Weakness[] =>
    WEAKNESSES.filter(
        ({ lines, answeredByApi }) =>
            !(answeredByApi && isAtLeast(madeBy, answeredByApi)) &&
            (!lines || productLine === null || lines.some((line) => line === productLine)),
    ).map(({ name, means, published, source }) => ({ name, means, published, source }))
