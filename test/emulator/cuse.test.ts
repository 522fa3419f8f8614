// A device behind /dev/cuse: what the kernel is told, and that an ioctl whose argument points further is fetched, run and
// written by the kernel's own retries. The kernel's side is played as Linux fs/fuse/ioctl.c does it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { cuseOperations } from '#emulator/cuse.ts'
import { noFaults } from '#emulator/faults.ts'
import { HANDLE_IN, IN_HEADER, IOCTL_IN, IOCTL_OUT, OPCODES, type Opcode, OUT_HEADER } from '#emulator/fuse-wire.ts'
import { gate } from '#emulator/gate.ts'
import type { Device } from '#emulator/model.ts'
import { session } from '#emulator/session.ts'

const SUM = 0xc0105301

/** Its argument is the address of two bytes, and where their sum is to be written. */
const adder = (committed: () => void = () => undefined): Device => ({
    mode: 0o600,
    requests: { [SUM]: 'sum' },
    ioctl({ request, argument }, memory) {
        if (request !== SUM) return { errno: 'ENOTTY' }
        const pointers = memory.read(argument, 16)
        const [a = 0, b = 0] = memory.read(pointers.readBigUInt64LE(0), 2)
        memory.write(pointers.readBigUInt64LE(8), Buffer.of(a + b))
        if (a === 0) memory.write(argument + 8n, Buffer.from('8 bytes!'))
        return { errno: a === 0 ? 'EIO' : undefined, commit: committed }
    },
})

const FUSE_IOCTL_RETRY = 4

function kernel(device: Device, memory: Buffer) {
    const waiting = new Map<bigint, (reply: { error: number; payload: Buffer }) => void>()
    const complaints: string[] = []
    let unique = 0n
    const receive = session(
        cuseOperations(
            'adder',
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

/** The argument at 16, what it points to at 64, the result at 80. */
function callerMemory(a: number, b: number): Buffer {
    const memory = Buffer.alloc(128)
    memory.writeBigUInt64LE(64n, 16)
    memory.writeBigUInt64LE(80n, 24)
    memory.set([a, b], 64)
    return memory
}

test('a device is made: unrestricted ioctls, and its name', async (t) => {
    const { ask } = kernel(adder(), Buffer.alloc(0))
    const { payload } = await ask('cuseInit', Buffer.from('07000000290000000000000001000000', 'hex'))
    t.is(payload.readUInt32LE(0), 7)
    t.is(payload.readUInt32LE(4), 31)
    t.is(payload.readUInt32LE(12), 1)
    t.is(payload.subarray(72).toString(), 'DEVNAME=adder\0')
})

test('an ioctl fetches what its argument points to, and its state changes once', async (t) => {
    let committed = 0
    const memory = callerMemory(20, 22)
    const { ioctl, complaints } = kernel(
        adder(() => void committed++),
        memory,
    )
    t.deepEqual(await ioctl(SUM, 16n), { result: 0, rounds: 4 })
    t.is(memory[80], 42)
    t.is(committed, 1)
    t.deepEqual(complaints, [])
})

test('what a failed ioctl has written reaches the caller', async (t) => {
    const memory = callerMemory(0, 22)
    t.deepEqual(await kernel(adder(), memory).ioctl(SUM, 16n), { result: -5, rounds: 4 })
    t.is(memory[80], 22)
    t.is(memory.toString('latin1', 24, 32), '8 bytes!')
})

test('an unknown request is refused, and messages that a device has no use for', async (t) => {
    const { ioctl, ask } = kernel(adder(), Buffer.alloc(0))
    t.deepEqual(await ioctl(0x1234, 0n), { result: -25, rounds: 1 })
    t.is((await ask('lookup', Buffer.alloc(8))).error, -38)
})

test('a caller that dies between two messages leaves nothing behind: the next one is served', async (t) => {
    const memory = callerMemory(1, 2)
    const { ask, ioctl } = kernel(adder(), memory)
    await ask('ioctl', IOCTL_IN.encode({ fh: 1n, flags: 2, cmd: SUM, arg: 16n, inSize: 0, outSize: 0 }))
    await ask('release', HANDLE_IN.encode({ fh: 1n }))
    t.deepEqual(await ioctl(SUM, 16n), { result: 0, rounds: 4 })
    await ask('ioctl', IOCTL_IN.encode({ fh: 1n, flags: 2, cmd: SUM, arg: 16n, inSize: 0, outSize: 0 }))
    t.deepEqual(await ioctl(SUM, 16n), { result: 0, rounds: 4 }) // without a release, too
})
