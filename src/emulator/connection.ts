// One connection of FUSE or CUSE: the kernel's messages, read one after the other, and the replies.
// SPDX-License-Identifier: Apache-2.0

import { read, writeSync } from 'node:fs'
import { errnoOf, messageOf } from '#core/errors.ts'
import { MESSAGE_SIZE } from './operations.ts'

/** Reads on a thread of the pool. Resolves when the connection has ended (ENODEV). */
export function readMessages(fd: number, receive: (message: Buffer) => void): Promise<void> {
    const buffer = Buffer.alloc(MESSAGE_SIZE)
    return new Promise((resolve, reject) => {
        const next = () =>
            read(fd, buffer, 0, buffer.length, null, (error, length) => {
                if (error?.code === 'ENODEV') resolve()
                else if (error && !PASSING.includes(String(error.code))) reject(error)
                else {
                    if (!error) receive(Buffer.from(buffer.subarray(0, length)))
                    next()
                }
            })
        next()
    })
}

/** ENOENT: the request was taken back before it was read. */
const PASSING: readonly string[] = ['EINTR', 'EAGAIN', 'ENOENT']

export function sendReply(fd: number, reply: Buffer, complain: (text: string) => void): void {
    try {
        writeSync(fd, reply)
    } catch (error) {
        // ENOENT: nobody waits any more. ENODEV: the connection has ended.
        if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENODEV')
            complain(`a reply was refused: ${messageOf(error)}`)
    }
}
