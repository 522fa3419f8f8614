// A segment that is appended to an initrd: the configuration and the disk's names of one boot, without building the
// initrd again. The format is `newc` (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
// SPDX-License-Identifier: Apache-2.0

export interface Entry {
    readonly bytes: Buffer | string
    readonly mode?: number
}

/** An initrd with a segment behind it; the kernel wants each to begin at a multiple of four. */
export const withSegment = (initrd: Buffer, segment: Buffer): Buffer => Buffer.concat([padded(initrd), segment])

/** Files by their path, without a leading slash; folders come by themselves. */
export function cpio(files: Readonly<Record<string, Entry>>): Buffer {
    const folders = new Set<string>()
    for (const path of Object.keys(files))
        for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) folders.add(path.slice(0, at))
    const out = [...folders]
        .toSorted((a, b) => a.length - b.length)
        .map((path) => record(path, 0o040755, Buffer.alloc(0)))
    for (const [path, { bytes, mode = 0o644 }] of Object.entries(files))
        out.push(record(path, 0o100000 | mode, Buffer.from(bytes)))
    out.push(record('TRAILER!!!', 0, Buffer.alloc(0)))
    return Buffer.concat(out)
}

let inode = 0x7000_0000

function record(name: string, mode: number, bytes: Buffer): Buffer {
    const links = (mode & 0o170000) === 0o040000 ? 2 : 1
    const fields = [++inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, name.length + 1, 0]
    const head = `070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}${name}\0`
    return Buffer.concat([padded(Buffer.from(head, 'latin1')), padded(bytes)])
}

const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)])
