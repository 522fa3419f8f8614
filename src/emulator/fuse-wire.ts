// FUSE as the kernel speaks it on /dev/fuse. Linux include/uapi/linux/fuse.h, protocol 7.31, what the emulator uses of
// it. Little-endian (the machine's own order, on the architectures that are supported). No I/O here.
// SPDX-License-Identifier: Apache-2.0

import { ignored, layout, type Parsed, struct, u16, u32, u64, zero } from '#core/layout.ts'

/** enum fuse_opcode, by name. */
export const OPCODES = {
    lookup: 1,
    forget: 2,
    getattr: 3,
    setattr: 4,
    mkdir: 9,
    unlink: 10,
    rmdir: 11,
    rename: 12,
    open: 14,
    read: 15,
    write: 16,
    statfs: 17,
    release: 18,
    fsync: 20,
    flush: 25,
    init: 26,
    opendir: 27,
    readdir: 28,
    releasedir: 29,
    create: 35,
    interrupt: 36,
    destroy: 38,
    ioctl: 39,
    batchForget: 42,
    cuseInit: 4096,
} as const

export type Opcode = keyof typeof OPCODES

/** The file system's root. */
export const ROOT_INODE = 1

/** The page cache is passed by: nobody knows how long a file will be until it is read. */
export const FOPEN_DIRECT_IO = 1

/** close(2) asks nobody, and so cannot fail when nobody is there any more: as it is with a device (since 7.35). */
export const FOPEN_NOFLUSH = 1 << 5

export const IN_HEADER = layout('fuse_in_header', 40, {
    len: u32(0),
    opcode: u32(4),
    unique: u64(8),
    nodeid: u64(16),
    uid: u32(24),
    gid: u32(28),
    /** The id of the calling thread, in the pid namespace of whoever mounted. */
    pid: u32(32),
    extensions: ignored(36, 4),
})

export const OUT_HEADER = layout('fuse_out_header', 16, { len: u32(0), error: u32(4), unique: u64(8) })

/** Newer kernels append to it. */
export const INIT_IN = layout('fuse_init_in', 16, {
    major: u32(0),
    minor: u32(4),
    maxReadahead: u32(8),
    flags: u32(12),
})

export const INIT_OUT = layout('fuse_init_out', 64, {
    major: u32(0),
    minor: u32(4),
    maxReadahead: u32(8),
    flags: u32(12),
    maxBackground: u16(16),
    congestionThreshold: u16(18),
    maxWrite: u32(20),
    timeGran: u32(24),
    unused: zero(28, 36),
})

const ATTR = layout('fuse_attr', 88, {
    ino: u64(0),
    size: u64(8),
    blocks: zero(16, 8),
    atime: u64(24),
    mtime: u64(32),
    ctime: u64(40),
    nanoseconds: zero(48, 12),
    mode: u32(60),
    nlink: u32(64),
    owner: zero(68, 8), // root, in the user namespace of whoever mounted
    rdev: zero(76, 4),
    blksize: u32(80),
    flags: zero(84, 4),
})

export type Attr = Parsed<typeof ATTR.fields>

/** How long the kernel may keep a name and what stat(2) says of it, in seconds. */
export const ENTRY_OUT = layout('fuse_entry_out', 128, {
    nodeid: u64(0),
    generation: zero(8, 8),
    entryValid: u64(16),
    attrValid: u64(24),
    nanoseconds: zero(32, 8),
    attr: struct(40, ATTR),
})

export const ATTR_OUT = layout('fuse_attr_out', 104, {
    attrValid: u64(0),
    nanoseconds: zero(8, 8),
    attr: struct(16, ATTR),
})

export const OPEN_IN = layout('fuse_open_in', 8, { flags: u32(0), openFlags: u32(4) })

export const OPEN_OUT = layout('fuse_open_out', 16, { fh: u64(0), openFlags: u32(8), backingId: zero(12, 4) })

/** fuse_read_in and fuse_write_in begin alike; a write's bytes follow. */
export const TRANSFER_IN = layout('fuse_read_in', 40, {
    fh: u64(0),
    offset: u64(8),
    size: u32(16),
    rest: ignored(20, 20),
})

export const WRITE_OUT = layout('fuse_write_out', 8, { size: u32(0), padding: zero(4, 4) })

/** What fuse_flush_in and fuse_release_in begin with. */
export const HANDLE_IN = layout('fuse_release_in', 24, { fh: u64(0), rest: ignored(8, 16) })

/** fuse_mkdir_in; the name follows. */
export const MKDIR_IN = layout('fuse_mkdir_in', 8, { mode: u32(0), umask: u32(4) })

export const FORGET_IN = layout('fuse_forget_in', 8, { nlookup: u64(0) })

export const BATCH_FORGET_IN = layout('fuse_batch_forget_in', 8, { count: u32(0), dummy: ignored(4, 4) })

export const FORGET_ONE = layout('fuse_forget_one', 16, { nodeid: u64(0), nlookup: u64(8) })

export const INTERRUPT_IN = layout('fuse_interrupt_in', 8, { unique: u64(0) })

/** The argument's bytes follow, where the request's number says that it is written. */
export const IOCTL_IN = layout('fuse_ioctl_in', 32, {
    fh: u64(0),
    flags: u32(8),
    cmd: u32(12),
    arg: u64(16),
    inSize: u32(24),
    outSize: u32(28),
})

/** The argument's bytes follow, where the request's number says that it is read, also if `result` is an error. */
export const IOCTL_OUT = layout('fuse_ioctl_out', 16, {
    result: u32(0),
    flags: u32(4),
    inIovs: u32(8),
    outIovs: u32(12),
})

export const STATFS_OUT = layout('fuse_statfs_out', 80, { all: ignored(0, 80) })

const DIRENT = layout('fuse_dirent', 24, { ino: u64(0), off: u64(8), namelen: u32(16), type: u32(20) })

export type Header = Parsed<typeof IN_HEADER.fields>

/** A message, split. */
export function readMessage(message: Buffer): { header: Header; body: Buffer } {
    const header = IN_HEADER.parse(message.subarray(0, IN_HEADER.size))
    return { header, body: message.subarray(IN_HEADER.size, header.len) }
}

/** The answer to a message; an errno is given as the positive number that it is. */
export function encodeReply(unique: bigint, errno: number, ...payload: readonly Uint8Array[]): Buffer {
    const len = payload.reduce((sum, { length }) => sum + length, OUT_HEADER.size)
    return Buffer.concat([OUT_HEADER.encode({ len, error: negative(errno), unique }), ...payload])
}

/** One entry of a folder; `off` is where the next one is read from. */
export function encodeDirent(ino: bigint, off: number, isFolder: boolean, name: string): Buffer {
    const text = Buffer.from(name)
    const type = isFolder ? 4 : 8 // DT_DIR, DT_REG
    const header = DIRENT.encode({ ino, off: BigInt(off), namelen: text.length, type })
    return Buffer.concat([header, text, Buffer.alloc(-text.length & 7)])
}

/** An errno as these structures carry it: its negative, in 32 bits. */
export const negative = (errno: number): number => -errno >>> 0

/** A name that ends with a zero byte. */
export function readName(body: Buffer): string {
    const end = body.indexOf(0)
    return body.toString('utf8', 0, end < 0 ? body.length : end)
}
