// Published attacks that no launch of SEV or SEV-ES can rule out. A dated table: add a row with its source when one is
// published; a row goes when no supported platform is open to it.
// SPDX-License-Identifier: Apache-2.0

import type { Weakness } from '#evidence/verdict.ts'

export const WEAKNESSES: readonly Weakness[] = [
    {
        name: 'One Glitch to Rule Them All',
        means: 'somebody who has had a chip of Zen 1 to 3 in hand has its keys, and can play a platform with them anywhere: name the chips that a guest may be launched on',
        published: '2021-08-10',
        source: 'arXiv:2108.04575',
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
