// Published attacks that an authentic report cannot rule out, by product line. A dated table: add a row with its source
// when one is published; a row goes when no supported platform is open to it.
// SPDX-License-Identifier: Apache-2.0

import type { Claims, Weakness } from '#evidence/verdict.ts'
import type { ProductLineName } from './tcb.ts'

interface Row extends Weakness {
    readonly lines: readonly ProductLineName[]
    /** False where the report shows that the platform is not open to it. */
    readonly open?: (claims: Claims) => boolean
}

export const WEAKNESSES: readonly Row[] = [
    {
        name: 'BadFuse',
        means: 'a host extracts the seed of the chip’s signing keys by software alone and can forge any report of it: do not accept Milan where that matters',
        published: '2026-05-13',
        source: 'arXiv:2605.12990',
        lines: ['Milan'],
    },
    {
        name: 'TEE.fail',
        means: 'somebody with an interposer on the DDR5 bus reads encrypted memory and recovers keys: needs the machine opened',
        published: '2025-10-28',
        source: 'https://tee.fail',
        lines: ['Genoa', 'Turin'],
    },
    {
        name: 'Battering RAM',
        means: 'somebody with an interposer on the DDR4 bus replays encrypted memory: needs the machine opened',
        published: '2025-09-30',
        source: 'https://batteringram.eu',
        lines: ['Milan'],
    },
    {
        name: 'BadRAM',
        means: 'memory modules that lie about their size let the host replace guest memory: require the platform bit aliasCheckComplete',
        published: '2024-12-10',
        source: 'CVE-2024-21944, AMD-SB-3015',
        lines: ['Milan', 'Genoa'],
        open: ({ platform }) => (platform as Claims | undefined)?.['aliasCheckComplete'] !== true,
    },
]

/** The rows that a platform with these claims is open to. */
export const weaknessesOf = (claims: Claims): Weakness[] =>
    WEAKNESSES.filter(
        ({ lines, open }) => lines.some((line) => line === claims['productLine']) && (open?.(claims) ?? true),
    ).map(({ name, means, published, source }) => ({ name, means, published, source }))
