// Published attacks that an authentic quote cannot rule out. A dated table: add a row with its source when one is
// published; a row goes when no supported platform is open to it. What Intel's TCB status answers is none: a platform
// that is open to it is not up to date.
// SPDX-License-Identifier: Apache-2.0

import type { Weakness } from '#evidence/verdict.ts'

/** What every platform is open to: all that have TDX have DDR5 memory. */
export const WEAKNESSES: readonly Weakness[] = [
    {
        name: 'TEE.fail',
        means: 'somebody with an interposer on the DDR5 bus reads encrypted memory and recovers attestation keys, with which quotes can be forged: needs the machine opened',
        published: '2025-10-28',
        source: 'https://tee.fail',
    },
]
