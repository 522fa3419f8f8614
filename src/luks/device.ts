// The door to the disk: one bounded copy of the header. Everything else judges that copy.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { fileError } from '#core/files.ts'
import { luksError } from './errors.ts'
import { BINARY_HEADER, metadataSize } from './header.ts'

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
