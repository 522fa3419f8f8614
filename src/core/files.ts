// Files: those that decide trust are read only where nobody else could have written them; those that are written
// appear whole or not at all.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import {
    closeSync,
    constants,
    existsSync,
    fchmodSync,
    fstatSync,
    fsyncSync,
    ftruncateSync,
    linkSync,
    lstatSync,
    mkdirSync,
    openSync,
    readdirSync,
    readlinkSync,
    readSync,
    realpathSync,
    renameSync,
    rmSync,
    type Stats,
    writeSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { coreError, errnoOf, messageOf } from './errors.ts'
import { EMULATED } from './role.ts'
import { readStdin } from './stdio.ts'

/** Largest file that is read whole unless a caller says otherwise: 1 MiB. */
const MAX_BYTES = 1024 * 1024

const OVERFLOW_UID = 65534

/** Zeros of this size, and whole ones alone, are not written. */
const HOLE = 64 * 1024
const ZEROS = Buffer.alloc(HOLE)

/**
 * A file that decides trust: regular, owned by root or by the user who runs this program, writable by nobody else,
 * and so are the folders above it. Null where it does not exist.
 * @throws AttestError ERR_UNTRUSTED_FILE, ERR_FILE_KIND, ERR_FILE
 */
export function readTrustedFile(path: string, maxBytes = MAX_BYTES): Buffer | null {
    const full = resolve(path)
    try {
        checkFolders(dirname(full))
        // Without O_NONBLOCK a pipe in its place would keep the program waiting for a writer.
        return readOpen(full, constants.O_NOFOLLOW | constants.O_NONBLOCK, maxBytes, (stat) => {
            if (stat.isDirectory()) throw wrongKind(full, 'EISDIR')
            if (!stat.isFile()) throw coreError('ERR_UNTRUSTED_FILE', `${full} is not a regular file`)
            checkOwner(full, stat)
        })
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return null
        if (errnoOf(cause) === 'ELOOP')
            throw coreError(
                'ERR_UNTRUSTED_FILE',
                `${full} is a symbolic link: a file that decides trust must be itself`,
            )
        throw fileError(full, cause)
    }
}

/** The same demand on a folder. False where it does not exist. */
export function checkTrustedFolder(path: string): boolean {
    try {
        checkFolders(resolve(path))
        return true
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return false
        throw fileError(path, cause)
    }
}

/**
 * Any other input file, up to a size. `-` is standard input.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE, ERR_LENGTH
 */
export function readInput(path: string, maxBytes = MAX_BYTES): Buffer {
    if (path === '-') return readStdin(maxBytes)
    try {
        return readOpen(path, 0, maxBytes, () => undefined)
    } catch (cause) {
        throw fileError(path, cause)
    }
}

/** The names in a folder, in their order. @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE */
export function readFolder(path: string): string[] {
    try {
        return readdirSync(path).toSorted()
    } catch (cause) {
        throw fileError(path, cause)
    }
}

/** Makes a folder, and those above it, where there is none. @throws AttestError ERR_FILE_KIND, ERR_FILE */
export function makeFolder(path: string, mode: number, hint?: string): void {
    try {
        mkdirSync(path, { recursive: true, mode })
    } catch (cause) {
        // Of a folder it is no error.
        throw errnoOf(cause) === 'EEXIST' ? wrongKind(path, 'ENOTDIR') : fileError(path, cause, hint)
    }
}

/** A file that is to be written; mode 0600 unless told. */
export interface NewFile {
    readonly path: string
    readonly bytes: Uint8Array | string
    readonly mode?: number
}

/**
 * Writes a file of which readers see the old bytes or the new ones, never a part: a new file beside it, synced, then
 * renamed over it. Mode 0600 unless told.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export const writeFileAtomic = (path: string, bytes: Uint8Array | string, mode?: number): void =>
    writeFiles([{ path, bytes, ...(mode === undefined ? {} : { mode }) }], { replace: true })

/**
 * Writes a file that must not be there yet: whole, or not at all.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export const createFile = (path: string, bytes: Uint8Array | string, mode?: number): void =>
    writeFiles([{ path, bytes, ...(mode === undefined ? {} : { mode }) }])

/**
 * Writes files that belong together, in the place of others where told: all of them, or none. Each stands whole beside
 * its place before the first gets its name.
 * @throws AttestError ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export function writeFiles(files: readonly NewFile[], { replace = false } = {}): void {
    const temporaries: string[] = []
    const placed: string[] = []
    let at = ''
    try {
        for (const { path, bytes, mode = 0o600 } of files) {
            at = path
            const temporary = besides(path)
            writeNew(temporary, bytes, mode)
            temporaries.push(temporary)
        }
        for (const [index, { path }] of files.entries()) {
            at = path
            const temporary = temporaries[index] ?? ''
            if (replace) renameSync(temporary, path)
            else placeNew(temporary, path)
            placed.push(path)
        }
        for (const folder of new Set(files.map(({ path }) => dirname(path)))) syncFolder(folder)
    } catch (cause) {
        // Where all have replaced what was there, nothing is left to go back to.
        const isKept = replace && placed.length === files.length
        for (const path of [...temporaries, ...(isKept ? [] : placed)]) rmSync(path, { force: true })
        if (errnoOf(cause) === 'ENOENT' && existsSync(dirname(at)))
            throw coreError('ERR_FILE', `${at}: no file can be made in that folder`, { cause })
        throw fileError(at, cause)
    }
}

// A link does not replace what is there, as renaming does; where the file system has none, an empty file keeps the place.
function placeNew(temporary: string, path: string): void {
    try {
        linkSync(temporary, path)
        rmSync(temporary)
    } catch (cause) {
        if (!NO_LINKS.includes(errnoOf(cause))) throw cause
        closeSync(openSync(path, 'wx', 0o600))
        try {
            renameSync(temporary, path)
        } catch (error) {
            rmSync(path, { force: true })
            throw error
        }
    }
}

/** What a file system says that has no links. link(2) */
const NO_LINKS: readonly (string | undefined)[] = ['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK']

const besides = (path: string): string => join(dirname(path), `.${randomBytes(6).toString('hex')}.tmp`)

/** Makes the entries of a folder durable. */
export function syncFolder(path: string): void {
    const fd = openSync(path, 'r')
    try {
        fsyncSync(fd)
    } finally {
        closeSync(fd)
    }
}

function writeNew(path: string, bytes: Uint8Array | string, mode: number): void {
    const fd = openSync(path, 'wx', mode)
    try {
        fchmodSync(fd, mode) // the umask may have taken bits away
        const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
        for (let done = 0; done < data.length; ) {
            const part = data.subarray(done, done + HOLE)
            // A run of zeros is a hole: on a file system in memory it takes none.
            if (part.length === HOLE && ZEROS.equals(part)) done += HOLE
            else done += writeSync(fd, part, 0, part.length, done)
        }
        ftruncateSync(fd, data.length)
        fsyncSync(fd)
    } catch (error) {
        rmSync(path, { force: true })
        throw error
    } finally {
        closeSync(fd)
    }
}

// Reads to the end whatever the size says: files of the kernel report 0 or a page.
function readOpen(path: string, flags: number, maxBytes: number, check: (stat: Stats) => void): Buffer {
    const fd = openSync(path, constants.O_RDONLY | flags)
    try {
        const stat = fstatSync(fd)
        check(stat)
        const chunks: Buffer[] = []
        for (let total = 0; ; ) {
            // What the size promises at once, so that nothing is copied; its end shows in a byte more.
            const chunk = Buffer.alloc(Math.min(Math.max(64 * 1024, stat.size + 1 - total), maxBytes + 1 - total))
            const got = readSync(fd, chunk)
            if (got === 0) return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
            total += got
            if (total > maxBytes) throw coreError('ERR_LENGTH', `${path}: larger than ${maxBytes} bytes`)
            chunks.push(chunk.subarray(0, got))
        }
    } finally {
        closeSync(fd)
    }
}

// Every folder on the way, by the name that was given, by the one it resolves to, and by those that links on the way
// lead through. A folder that others may write into is harmless above us only if it is sticky (as /tmp): then they
// cannot replace what is ours in it.
function checkFolders(path: string): void {
    const ways = new Set([path, realpathSync(path)]) // which also refuses links without an end
    for (const way of ways)
        for (let folder = way; ; folder = dirname(folder)) {
            const stat = lstatSync(folder)
            if (stat.isSymbolicLink()) ways.add(resolve(realpathSync(dirname(folder)), readlinkSync(folder)))
            const writableIsHarmless = stat.isSymbolicLink() || (stat.isDirectory() && (stat.mode & 0o1000) !== 0)
            checkOwner(folder, stat, writableIsHarmless)
            if (folder === dirname(folder)) break
        }
}

function checkOwner(path: string, stat: Stats, writableIsHarmless = false): void {
    const owners = [0, process.geteuid?.() ?? 0]
    // In the user namespace of a rootless emulator the machine's root has no name but the overflow id.
    if (EMULATED) owners.push(OVERFLOW_UID)
    if (!owners.includes(stat.uid))
        throw coreError('ERR_UNTRUSTED_FILE', `${path} belongs to user ${stat.uid}: it must belong to root`, {
            hint: `chown root ${path}`,
        })
    if ((stat.mode & 0o022) !== 0 && !writableIsHarmless)
        throw coreError('ERR_UNTRUSTED_FILE', `${path} can be written by others (mode ${mode(stat)})`, {
            hint: `chmod go-w ${path}`,
        })
}

const mode = (stat: Stats): string => (stat.mode & 0o7777).toString(8).padStart(4, '0')

/** What stands where something else was expected. */
const KINDS = {
    EISDIR: 'is a folder, a file was expected',
    ENOTDIR: 'a file stands where a folder was expected',
} as const

const wrongKind = (path: string, errno: keyof typeof KINDS): Error =>
    coreError('ERR_FILE_KIND', `${path}: ${KINDS[errno]}`)

/** What this user may not do. */
const FORBIDDEN: readonly (string | undefined)[] = ['EACCES', 'EPERM', 'EROFS']

/** The system's word on a file as an error of ours, which names the file that was meant; the same for every way to one. */
export function fileError(path: string, cause: unknown, hint = 'run this as root, or as a user who may'): Error {
    const errno = errnoOf(cause)
    if (errno?.startsWith('ERR_')) return cause as Error
    if (errno === 'ENOENT') return coreError('ERR_NOT_FOUND_FILE', `${path}: no such file or folder`, { cause })
    if (errno === 'EISDIR' || errno === 'ENOTDIR') return wrongKind(path, errno)
    // `EACCES: permission denied, open '/etc/.1f3a.tmp'`: behind the comma stands a call, and perhaps a name of our own.
    const text = messageOf(cause).replace(/, [a-z]+(?: '.*)?$/, '')
    return coreError('ERR_FILE', `${path}: ${text}`, { cause, hint: FORBIDDEN.includes(errno) ? hint : undefined })
}
