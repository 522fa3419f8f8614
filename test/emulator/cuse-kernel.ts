// The kernel's side of a CUSE connection, in memory, as Linux fs/fuse/ioctl.c plays it.
// SPDX-License-Identifier: Apache-2.0

import { cuseOperations } from '#emulator/cuse.ts'
import { noFaults } from '#emulator/faults.ts'
import { IN_HEADER, IOCTL_IN, IOCTL_OUT, OPCODES, type Opcode, OUT_HEADER } from '#emulator/fuse-wire.ts'
import { gate } from '#emulator/gate.ts'
import type { Device } from '#emulator/model.ts'
import { session } from '#emulator/session.ts'

const FUSE_IOCTL_RETRY = 4

/** @param memory of the caller, from address 0 on */
export function cuseKernel(device: Device, memory: Buffer) {
    const waiting = new Map<bigint, (reply: { error: number; payload: Buffer }) => void>()
    const complaints: string[] = []
    let unique = 0n
    const receive = session(
        cuseOperations(
            'device',
            device,
            gate(
                noFaults,
                () => 0,
                () => undefined,
            ),
        ),
        {
            send(reply) {
                const header = OUT_HEADER.parse(reply.subarray(0, OUT_HEADER.size))
                waiting.get(header.unique)?.({ error: header.error | 0, payload: reply.subarray(OUT_HEADER.size) })
            },
            isBeingKilled: () => true,
            complain: (text) => complaints.push(text),
        },
    )
    const ask = (opcode: Opcode, ...body: Uint8Array[]): Promise<{ error: number; payload: Buffer }> => {
        unique += 2n
        const len = body.reduce((sum, { length }) => sum + length, IN_HEADER.size)
        const header = IN_HEADER.encode({
            len,
            opcode: OPCODES[opcode],
            unique,
            nodeid: 0n,
            uid: 0,
            gid: 0,
            pid: 7,
        })
        const answered = new Promise<{ error: number; payload: Buffer }>((resolve) => waiting.set(unique, resolve))
        receive(Buffer.concat([header, ...body]))
        return answered
    }
    type Place = { at: number; length: number }
    /** fuse_do_ioctl(): unrestricted, so the first message carries nothing. */
    async function ioctl(cmd: number, arg: bigint): Promise<{ result: number; rounds: number }> {
        let read: Place[] = []
        let write: Place[] = []
        for (let rounds = 1; rounds < 10; rounds++) {
            const input = Buffer.concat(read.map(({ at, length }) => memory.subarray(at, at + length)))
            const outSize = write.reduce((sum, { length }) => sum + length, 0)
            const head = IOCTL_IN.encode({ fh: 1n, flags: 2, cmd, arg, inSize: input.length, outSize })
            const { error, payload } = await ask('ioctl', head, input)
            if (error) return { result: error, rounds }
            const { result, flags, inIovs, outIovs } = IOCTL_OUT.parse(payload.subarray(0, IOCTL_OUT.size))
            const rest = payload.subarray(IOCTL_OUT.size)
            if (flags !== FUSE_IOCTL_RETRY) {
                let from = 0
                for (const { at, length } of write) {
                    rest.copy(memory, at, from, from + length)
                    from += length
                }
                return { result: result | 0, rounds }
            }
            const places = Array.from({ length: inIovs + outIovs }, (_, i) => ({
                at: Number(rest.readBigUInt64LE(i * 16)),
                length: Number(rest.readBigUInt64LE(i * 16 + 8)),
            }))
            read = places.slice(0, inIovs)
            write = places.slice(inIovs)
        }
        throw new Error('the device asks for ever')
    }
    return { ask, ioctl, complaints }
}
