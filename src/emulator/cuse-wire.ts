// CUSE as the kernel speaks it on /dev/cuse: what it has beside FUSE (fuse-wire.ts). Linux include/uapi/linux/fuse.h,
// protocol 7.31. Little-endian. No I/O here.
// SPDX-License-Identifier: Apache-2.0

import { layout, u32, u64, zero } from '#core/layout.ts'
import { IOCTL_OUT } from './fuse-wire.ts'
import type { Range } from './memory.ts'

/** The device takes ioctls whose argument the kernel does not know the size of, and fetches what it is told to. */
const CUSE_UNRESTRICTED_IOCTL = 1
/** An answer that is none yet: it names the ranges that come with the next message. */
const FUSE_IOCTL_RETRY = 4

export const CUSE_INIT_IN = layout('cuse_init_in', 16, {
    major: u32(0),
    minor: u32(4),
    unused: zero(8, 4),
    flags: u32(12),
})

const CUSE_INIT_OUT = layout('cuse_init_out', 72, {
    major: u32(0),
    minor: u32(4),
    unused: zero(8, 4),
    flags: u32(12),
    maxRead: u32(16),
    maxWrite: u32(20),
    /** Zero: the kernel chooses the numbers of the device. */
    device: zero(24, 8),
    spare: zero(32, 40),
})

const FUSE_IOCTL_IOVEC = layout('fuse_ioctl_iovec', 16, { base: u64(0), len: u64(8) })

/** What makes the device `/dev/NAME`. */
export const cuseInit = (major: number, minor: number, name: string): Uint8Array[] => [
    CUSE_INIT_OUT.encode({ major, minor, flags: CUSE_UNRESTRICTED_IOCTL, maxRead: 4096, maxWrite: 4096 }),
    Buffer.from(`DEVNAME=${name}\0`),
]

/** The place of a range in the caller's memory. */
export interface Place {
    readonly address: bigint
    readonly length: number
}

/** Asks for the same message again, with what stands at `read`, and with room to write at `write`. */
export const ioctlRetry = (read: readonly Place[], write: readonly Place[]): Uint8Array[] => [
    IOCTL_OUT.encode({ result: 0, flags: FUSE_IOCTL_RETRY, inIovs: read.length, outIovs: write.length }),
    ...[...read, ...write].map(({ address, length }) =>
        FUSE_IOCTL_IOVEC.encode({ base: address, len: BigInt(length) }),
    ),
]

/** The end of an ioctl: its result, and the bytes for the ranges that were named, in their order. */
export const ioctlEnd = (result: number, written: readonly Range[]): Uint8Array[] => [
    IOCTL_OUT.encode({ result, flags: 0, inIovs: 0, outIovs: 0 }),
    ...written.map(({ bytes }) => bytes),
]
