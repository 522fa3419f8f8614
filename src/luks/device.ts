// The door to the disk: one bounded copy of the header. Everything else judges that copy.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { AttestError } from '#core/errors.ts'
import { fileError } from '#core/files.ts'
import { luksError } from './errors.ts'
import { BINARY_HEADER, metadataSize, primaryCopy } from './header.ts'
import { fit, KEYSLOT, parseMetadata } from './metadata.ts'

/**
 * Copies both header copies with their metadata, at most 8 MiB; less where the device ends before. Each byte is read
 * once: the host can answer a second read of the same place with something else.
 * @throws AttestError ERR_LUKS_DEVICE, ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE
 */
export function copyHeader(path: string): Buffer {
    return withDevice(path, (fd) => {
        const start = read(fd, 0, BINARY_HEADER.size)
        if (start.length < BINARY_HEADER.size) return start
        return Buffer.concat([start, read(fd, start.length, metadataSize(start) - start.length)])
    })
}

/**
 * The same with the areas of its key slots, where they stand; what no key slot has is zeros. That is all that opening a
 * volume needs beside its data. At most 32 MiB, each byte read once. Where the metadata cannot be read there are no areas,
 * and no check passes.
 * @throws AttestError as `copyHeader`, ERR_LUKS_AREA
 */
export function copyWholeHeader(path: string): Buffer {
    return withDevice(path, (fd) => {
        const start = read(fd, 0, BINARY_HEADER.size)
        if (start.length < BINARY_HEADER.size) return start
        const copies = Buffer.concat([start, read(fd, start.length, metadataSize(start) - start.length)])
        const { size, areas } = keyslotAreas(copies)
        if (copies.length + size > MAX_WHOLE)
            throw luksError(
                'ERR_LUKS_AREA',
                `the key-slot areas: expected at most ${MAX_WHOLE - copies.length} bytes, got ${size}`,
            )
        const whole = Buffer.alloc(copies.length + size)
        copies.copy(whole)
        for (const { from, end } of areas) read(fd, from, end - from).copy(whole, from)
        return whole
    })
}

/** cryptsetup makes 16 MiB. */
const MAX_WHOLE = 32 * 1024 * 1024

interface Areas {
    readonly size: number
    /** Within what is copied; what overlaps is cut: checkHeader judges where they lie. */
    readonly areas: readonly { readonly from: number; readonly end: number }[]
}

const NO_AREAS: Areas = { size: 0, areas: [] }

function keyslotAreas(copies: Buffer): Areas {
    try {
        const { header, json } = primaryCopy(copies)
        if (2 * Number(header.hdrSize) > copies.length) return NO_AREAS
        const { config, keyslots } = parseMetadata(json)
        const size = Number(config.keyslots_size)
        let free = copies.length
        const areas = Object.entries(keyslots)
            .map(([id, slot]) => fit(KEYSLOT, slot, `key slot ${id}`, 'ERR_LUKS_KEYSLOT').area)
            .toSorted((a, b) => Number(a.offset - b.offset))
            .map(({ offset, size: length }) => {
                const from = Math.max(Number(offset), free)
                free = Math.max(free, Math.min(Number(offset + length), copies.length + size))
                return { from, end: free }
            })
        return { size, areas: areas.filter(({ from, end }) => from < end) }
    } catch (error) {
        if (error instanceof AttestError) return NO_AREAS
        throw error
    }
}

/** Opens a block device or a file for reading, and closes it. @throws AttestError as `copyHeader` */
export function withDevice<T>(path: string, use: (fd: number) => T): T {
    let fd: number | undefined
    try {
        // Without O_NONBLOCK, opening a named pipe waits for its writer.
        fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
        const stat = fstatSync(fd)
        if (!stat.isBlockDevice() && !stat.isFile())
            throw luksError('ERR_LUKS_DEVICE', `${path} is neither a block device nor a file`)
        return use(fd)
    } catch (cause) {
        throw fileError(path, cause)
    } finally {
        if (fd !== undefined) closeSync(fd)
    }
}

function read(fd: number, from: number, size: number): Buffer {
    const bytes = Buffer.alloc(size)
    for (let done = 0; done < size; ) {
        const got = readSync(fd, bytes, done, size - done, from + done)
        if (got === 0) return bytes.subarray(0, done)
        done += got
    }
    return bytes
}
