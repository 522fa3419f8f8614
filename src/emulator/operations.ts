// What a FUSE connection does with each kind of message: inodes and handles over a tree of files. No I/O here.
// SPDX-License-Identifier: Apache-2.0

import { constants as files } from 'node:fs'
import { constants } from 'node:os'
import { Errno } from './errno.ts'
import {
    ATTR_OUT,
    type Attr,
    BATCH_FORGET_IN,
    ENTRY_OUT,
    encodeDirent,
    FOPEN_DIRECT_IO,
    FOPEN_NOFLUSH,
    FORGET_IN,
    FORGET_ONE,
    HANDLE_IN,
    type Header,
    INIT_IN,
    INIT_OUT,
    IOCTL_IN,
    IOCTL_OUT,
    MKDIR_IN,
    negative,
    OPEN_IN,
    OPEN_OUT,
    type Opcode,
    ROOT_INODE,
    readName,
    STATFS_OUT,
    TRANSFER_IN,
    WRITE_OUT,
} from './fuse-wire.ts'
import { type Caller, type File, type Folder, type Handle, isFolder, type Node, TEXT_SIZE } from './tree.ts'

export interface Request {
    readonly header: Header
    readonly body: Buffer
    readonly caller: Caller
}

/** The payload of the reply; null where the kernel wants none. */
export type Reply = readonly Uint8Array[] | null

const EMPTY: Reply = []

/** Answers each kind of message but an interrupt, which is about another message. */
export type Operations = Readonly<Record<Exclude<Opcode, 'interrupt'>, (request: Request) => Reply | Promise<Reply>>>

/** What a file system is asked. */
type FileOperations = Omit<Operations, 'cuseInit'>

/** The most that one write carries; attributes and requests are smaller. */
const MAX_WRITE = 4096

/** Large enough for every message: FUSE_MIN_READ_BUFFER, and the header before a write. */
export const MESSAGE_SIZE = 16 * 1024

// Names come and go by mkdir(2), rmdir(2) and unlink(2) alone, which the kernel sees, and what stat(2) says never changes.
const VALID_S = 86_400n

const PROTOCOL = { major: 7, minor: 31 } as const

const { O_RDWR, O_WRONLY, S_IFDIR, S_IFREG } = files

/** @param startS the time of every file, in seconds since 1970 */
export function fileOperations(root: Folder, startS: number): FileOperations {
    const inodes = new Map<bigint, Node>([[BigInt(ROOT_INODE), root]])
    const numbers = new Map<Node, bigint>([[root, BigInt(ROOT_INODE)]])
    const handles = new Map<bigint, Handle>()
    let lastInode = BigInt(ROOT_INODE)
    let lastHandle = 0n

    const nodeOf = ({ header }: Request): Node => inodes.get(header.nodeid) ?? fail('ENOENT')
    const folderOf = (request: Request): Folder => {
        const node = nodeOf(request)
        return isFolder(node) ? node : fail('ENOTDIR')
    }
    const childOf = (folder: Folder, name: string): Node => folder.entries.get(name) ?? fail('ENOENT')
    const numberOf = (node: Node): bigint => {
        const number = numbers.get(node) ?? ++lastInode
        numbers.set(node, number)
        inodes.set(number, node)
        return number
    }
    const attrOf = (node: Node): Attr => ({
        ino: numberOf(node),
        size: isFolder(node) ? 0n : BigInt(node.size),
        atime: BigInt(startS),
        mtime: BigInt(startS),
        ctime: BigInt(startS),
        mode: node.mode | (isFolder(node) ? S_IFDIR : S_IFREG),
        nlink: isFolder(node) ? 2 : 1,
        blksize: TEXT_SIZE,
    })
    const entry = (node: Node): Reply => [
        ENTRY_OUT.encode({
            nodeid: numberOf(node),
            entryValid: VALID_S,
            attrValid: VALID_S,
            attr: attrOf(node),
        }),
    ]
    const attributes = (request: Request): Reply => [
        ATTR_OUT.encode({ attrValid: VALID_S, attr: attrOf(nodeOf(request)) }),
    ]
    // The kernel has dropped the inode; one that no folder holds any more will not be asked for again.
    const forget = (nodeid: bigint) => {
        const node = inodes.get(nodeid)
        if (!node || isHeld(root, node)) return
        inodes.delete(nodeid)
        numbers.delete(node)
    }
    const handleOf = (fh: bigint): Handle => handles.get(fh) ?? fail('EBADF')
    const refuse = (): never => fail('EPERM')

    return {
        init({ body }) {
            const { minor, maxReadahead } = INIT_IN.parse(body.subarray(0, INIT_IN.size))
            return [
                INIT_OUT.encode({
                    major: PROTOCOL.major,
                    minor: Math.min(minor, PROTOCOL.minor),
                    maxReadahead,
                    flags: 0, // each request in its simplest form
                    maxBackground: 16,
                    congestionThreshold: 12,
                    maxWrite: MAX_WRITE,
                    timeGran: 1,
                }),
            ]
        },
        lookup: (request) => entry(childOf(folderOf(request), readName(request.body))),
        getattr: attributes,
        setattr: attributes, // truncation comes before an open that wants it; modes and times stay
        statfs: () => [STATFS_OUT.encode({})],
        forget({ header, body }) {
            FORGET_IN.parse(body)
            forget(header.nodeid)
            return null
        },
        batchForget({ body }) {
            const { count } = BATCH_FORGET_IN.parse(body.subarray(0, BATCH_FORGET_IN.size))
            for (let at: number = BATCH_FORGET_IN.size, i = 0; i < count; i++, at += FORGET_ONE.size)
                forget(FORGET_ONE.parse(body.subarray(at, at + FORGET_ONE.size)).nodeid)
            return null
        },
        opendir(request) {
            folderOf(request)
            return [OPEN_OUT.encode({ fh: 0n, openFlags: 0 })]
        },
        readdir(request) {
            const { offset, size } = TRANSFER_IN.parse(request.body)
            return listing(folderOf(request), Number(offset), size, numberOf)
        },
        releasedir: () => EMPTY,
        mkdir(request) {
            const parent = folderOf(request)
            const name = readName(request.body.subarray(MKDIR_IN.size))
            if (!parent.make) return refuse()
            if (parent.entries.has(name)) return fail('EEXIST')
            const made = parent.make(name)
            parent.entries.set(name, made)
            return entry(made)
        },
        rmdir(request) {
            const parent = folderOf(request)
            const name = readName(request.body)
            const child = childOf(parent, name)
            if (!isFolder(child)) return fail('ENOTDIR')
            if (!parent.make) return refuse()
            parent.entries.delete(name)
            child.removed?.()
            return EMPTY
        },
        async unlink(request) {
            const parent = folderOf(request)
            const name = readName(request.body)
            const child = childOf(parent, name)
            if (isFolder(child)) return fail('EISDIR')
            if (!child.unlink) return refuse()
            await child.unlink(request.caller)
            parent.entries.delete(name)
            return EMPTY
        },
        rename: refuse,
        create: () => fail('EACCES'), // what open(2) says where a folder cannot create
        open(request) {
            const node = nodeOf(request)
            if (isFolder(node)) return fail('EISDIR')
            checkAccess(node, OPEN_IN.parse(request.body).flags)
            const handle = node.open()
            handles.set(++lastHandle, handle)
            const openFlags = FOPEN_DIRECT_IO | (handle.flush ? 0 : FOPEN_NOFLUSH)
            return [OPEN_OUT.encode({ fh: lastHandle, openFlags })]
        },
        async read({ body, caller }) {
            const { fh, offset, size } = TRANSFER_IN.parse(body)
            const handle = handleOf(fh)
            return handle.read ? [await handle.read(Number(offset), size, caller)] : fail('EINVAL')
        },
        async write({ body, caller }) {
            const { fh, offset, size } = TRANSFER_IN.parse(body.subarray(0, TRANSFER_IN.size))
            const handle = handleOf(fh)
            if (!handle.write) return fail('EINVAL')
            await handle.write(Number(offset), body.subarray(TRANSFER_IN.size, TRANSFER_IN.size + size), caller)
            return [WRITE_OUT.encode({ size })]
        },
        flush({ body }) {
            handleOf(HANDLE_IN.parse(body).fh).flush?.()
            return EMPTY
        },
        release({ body }) {
            handles.delete(HANDLE_IN.parse(body).fh)
            return EMPTY
        },
        fsync: () => EMPTY,
        destroy: () => EMPTY,
        async ioctl({ body, caller }) {
            const { fh, cmd, arg, inSize, outSize } = IOCTL_IN.parse(body.subarray(0, IOCTL_IN.size))
            const handle = handleOf(fh)
            if (!handle.ioctl) return fail('ENOTTY')
            const input = Buffer.from(body.subarray(IOCTL_IN.size, IOCTL_IN.size + inSize))
            const { errno, output } = await handle.ioctl(
                { command: cmd, argument: arg, input, outputSize: outSize },
                caller,
            )
            const result = errno ? negative(constants.errno[errno]) : 0
            return [IOCTL_OUT.encode({ result, flags: 0, inIovs: 0, outIovs: 0 }), output]
        },
    }
}

function fail(...name: ConstructorParameters<typeof Errno>): never {
    throw new Errno(...name)
}

// configfs refuses what an attribute cannot do even to root, whom the kernel's own check of the mode lets through.
function checkAccess({ mode }: File, flags: number): void {
    const access = flags & (O_WRONLY | O_RDWR)
    const reads = access !== O_WRONLY
    const writes = access !== 0
    if ((reads && !(mode & 0o444)) || (writes && !(mode & 0o222))) fail('EACCES')
}

function listing(folder: Folder, offset: number, size: number, numberOf: (node: Node) => bigint): Reply {
    const all: [string, Node][] = [['.', folder], ['..', folder], ...folder.entries]
    const out: Buffer[] = []
    let used = 0
    for (const [index, [name, node]] of all.entries()) {
        if (index < offset) continue
        const dirent = encodeDirent(numberOf(node), index + 1, isFolder(node), name)
        used += dirent.length
        if (used > size) break
        out.push(dirent)
    }
    return out
}

const isHeld = (folder: Folder, node: Node): boolean =>
    node === folder ||
    [...folder.entries.values()].some((child) => child === node || (isFolder(child) && isHeld(child, node)))
