// A disk whose host lies: an NBD server that shows one image until a certain place has been read, and another one from then
// on. NetworkBlockDevice/nbd doc/proto.md, fixed newstyle negotiation, NBD_OPT_EXPORT_NAME and NBD_OPT_GO.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'

export interface LyingDisk {
    /** For QEMU's `-drive`. */
    readonly drive: string
    /** How many reads the second image has answered. */
    forged(): number
    close(): void
}

export interface Lie {
    readonly good: string
    readonly forged: string
    /** The first read that ends behind this place is the last that sees the good image. */
    readonly until: number
    /** A UNIX socket. */
    readonly socket: string
}

const OPT_EXPORT_NAME = 1
const OPT_ABORT = 2
const OPT_GO = 7
const REPLY_ACK = 1
const REPLY_INFO = 3
const REPLY_UNSUPPORTED = 0x8000_0001
const FLAGS = 1 | 4 // has flags, takes flushes
const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3 } as const

export function lyingDisk({ good, forged, until, socket: path }: Lie): Promise<LyingDisk> {
    const [first, second] = [openSync(good, 'r'), openSync(forged, 'r')]
    const size = fstatSync(first).size
    let lies = false
    let count = 0

    function read(offset: number, length: number): Buffer {
        const bytes = Buffer.alloc(length)
        readSync(lies ? second : first, bytes, 0, length, offset)
        if (lies) count++
        // The whole place has been seen: from now on it is another disk.
        if (offset <= until && offset + length > until) lies = true
        return bytes
    }

    const server = createServer((client) => void serve(client, size, read))
    return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(path, () =>
            resolve({
                drive: `file=nbd+unix:///?socket=${path},format=raw,if=virtio,cache=directsync,snapshot=on`,
                forged: () => count,
                close() {
                    server.close()
                    closeSync(first)
                    closeSync(second)
                },
            }),
        )
    })
}

async function serve(client: Socket, size: number, read: (offset: number, length: number) => Buffer): Promise<void> {
    client.on('error', () => client.destroy())
    const take = reader(client)
    const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
    const u32 = (value: number) => {
        const bytes = Buffer.alloc(4)
        bytes.writeUInt32BE(value)
        return bytes
    }
    const u64 = (value: number | bigint) => {
        const bytes = Buffer.alloc(8)
        bytes.writeBigUInt64BE(BigInt(value))
        return bytes
    }
    try {
        client.write(Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]))
        const noZeroes = ((await take(4)).readUInt32BE() & 2) !== 0
        for (;;) {
            const head = await take(16)
            const option = head.readUInt32BE(8)
            await take(head.readUInt32BE(12))
            const reply = (type: number, data: Buffer = Buffer.alloc(0)) =>
                client.write(Buffer.concat([u64(0x3e889045565a9n), u32(option), u32(type), u32(data.length), data]))
            if (option === OPT_EXPORT_NAME) {
                client.write(Buffer.concat([u64(size), u16(FLAGS), Buffer.alloc(noZeroes ? 0 : 124)]))
                break
            }
            if (option === OPT_GO) {
                reply(REPLY_INFO, Buffer.concat([u16(0), u64(size), u16(FLAGS)]))
                reply(REPLY_ACK)
                break
            }
            reply(option === OPT_ABORT ? REPLY_ACK : REPLY_UNSUPPORTED)
        }
        for (;;) {
            const request = await take(28)
            const command = request.readUInt16BE(6)
            const offset = Number(request.readBigUInt64BE(16))
            const length = request.readUInt32BE(24)
            if (command === COMMAND.disconnect) break
            const answer = (error: number, data: Buffer = Buffer.alloc(0)) =>
                client.write(Buffer.concat([u32(0x67446698), u32(error), request.subarray(8, 16), data]))
            if (command === COMMAND.read) answer(0, read(offset, length))
            else if (command === COMMAND.flush) answer(0)
            else {
                if (command === COMMAND.write) await take(length)
                answer(1)
            }
        }
    } catch {
        // the machine has gone
    }
    client.destroy()
}

function reader(client: Socket): (length: number) => Promise<Buffer> {
    let have: Buffer = Buffer.alloc(0)
    let wake: () => void = () => undefined
    let ended = false
    client.on('data', (chunk: Buffer) => {
        have = Buffer.concat([have, chunk])
        wake()
    })
    client.on('close', () => {
        ended = true
        wake()
    })
    return async (length) => {
        while (have.length < length) {
            if (ended) throw new Error('closed')
            await new Promise<void>((resolve) => (wake = resolve))
        }
        const bytes = have.subarray(0, length)
        have = have.subarray(length)
        return bytes
    }
}
