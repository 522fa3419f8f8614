// A device behind /dev/cuse: what the kernel is told, and that an ioctl whose argument points further is fetched, run and
// written by the kernel's own retries.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { HANDLE_IN, IOCTL_IN } from '#emulator/fuse-wire.ts'
import type { Device } from '#emulator/model.ts'
import { cuseKernel } from './cuse-kernel.ts'

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

/** The argument at 16, what it points to at 64, the result at 80. */
function callerMemory(a: number, b: number): Buffer {
    const memory = Buffer.alloc(128)
    memory.writeBigUInt64LE(64n, 16)
    memory.writeBigUInt64LE(80n, 24)
    memory.set([a, b], 64)
    return memory
}

test('a device is made: unrestricted ioctls, and its name', async (t) => {
    const { ask } = cuseKernel(adder(), Buffer.alloc(0))
    const { payload } = await ask('cuseInit', Buffer.from('07000000290000000000000001000000', 'hex'))
    t.is(payload.readUInt32LE(0), 7)
    t.is(payload.readUInt32LE(4), 31)
    t.is(payload.readUInt32LE(12), 1)
    t.is(payload.subarray(72).toString(), 'DEVNAME=device\0')
})

test('an ioctl fetches what its argument points to, and its state changes once', async (t) => {
    let committed = 0
    const memory = callerMemory(20, 22)
    const { ioctl, complaints } = cuseKernel(
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
    t.deepEqual(await cuseKernel(adder(), memory).ioctl(SUM, 16n), { result: -5, rounds: 4 })
    t.is(memory[80], 22)
    t.is(memory.toString('latin1', 24, 32), '8 bytes!')
})

test('an unknown request is refused, and messages that a device has no use for', async (t) => {
    const { ioctl, ask } = cuseKernel(adder(), Buffer.alloc(0))
    t.deepEqual(await ioctl(0x1234, 0n), { result: -25, rounds: 1 })
    t.is((await ask('lookup', Buffer.alloc(8))).error, -38)
})

test('a caller that dies between two messages leaves nothing behind: the next one is served', async (t) => {
    const memory = callerMemory(1, 2)
    const { ask, ioctl } = cuseKernel(adder(), memory)
    await ask('ioctl', IOCTL_IN.encode({ fh: 1n, flags: 2, cmd: SUM, arg: 16n, inSize: 0, outSize: 0 }))
    await ask('release', HANDLE_IN.encode({ fh: 1n }))
    t.deepEqual(await ioctl(SUM, 16n), { result: 0, rounds: 4 })
    await ask('ioctl', IOCTL_IN.encode({ fh: 1n, flags: 2, cmd: SUM, arg: 16n, inSize: 0, outSize: 0 }))
    t.deepEqual(await ioctl(SUM, 16n), { result: 0, rounds: 4 }) // without a release, too
})
