// The attributes of a TD. Intel TDX Module 1.5 ABI, ATTRIBUTES.
// SPDX-License-Identifier: Apache-2.0

import { bitTable } from '#core/bits.ts'

/** What a TD was launched with; bits 0 to 7 say that it is not to be trusted. */
export const TD_ATTRIBUTES = bitTable('ATTRIBUTES', {
    debug: { bits: 0, means: 'the host may read and write its memory and registers' },
    hgsPlusProfiling: { bits: 4, means: 'the host may profile its use of the hardware (HGS+)' },
    perfProfiling: { bits: 5, means: 'the host may profile it with performance counters' },
    pmtProfiling: { bits: 6, means: 'the host may profile it with platform telemetry' },
    icssd: { bits: 16, means: 'code segment state is saved on debug events' },
    lass: { bits: 27, means: 'may use linear address space separation' },
    septVeDisable: { bits: 28, means: 'pages that the host takes away stop the guest, without an exception in it' },
    migratable: { bits: 29, means: 'a migration TD may move it to another host' },
    protectionKeys: { bits: 30, means: 'may use supervisor protection keys' },
    keyLocker: { bits: 31, means: 'may use Key Locker' },
    tpa: { bits: 62, means: 'is a TD partitioning or assistance TD' },
    perfmon: { bits: 63, means: 'may use performance counters' },
})

/** The attributes that make a TD untrusted (TUD): all of bits 0 to 7. */
export const UNTRUSTED_ATTRIBUTES = 0xffn

/** Bits 1 to 7: profiling, and what nobody has named yet. */
export const PROFILING_ATTRIBUTES = UNTRUSTED_ATTRIBUTES & ~1n
