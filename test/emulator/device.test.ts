// A device model against a caller's memory that is fetched piece by piece: run again, committed once.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { deviceFile } from '#emulator/device.ts'
import { Errno } from '#emulator/errno.ts'
import { noFaults } from '#emulator/faults.ts'
import { gate } from '#emulator/gate.ts'
import { type CallerMemory, runAgainst } from '#emulator/memory.ts'
import type { Device } from '#emulator/model.ts'
import { folder } from '#emulator/tree.ts'
import { kernel, O_RDWR } from './kernel.ts'

/** Memory of a process: buffers at addresses. What is fetched is noted. */
function memory(ranges: ReadonlyMap<bigint, Buffer>): CallerMemory & { readonly fetched: string[] } {
    const fetched: string[] = []
    const at = (address: bigint, length: number): Buffer => {
        for (const [start, bytes] of ranges)
            if (address >= start && address + BigInt(length) <= start + BigInt(bytes.length))
                return bytes.subarray(Number(address - start), Number(address - start) + length)
        throw new Errno('EFAULT')
    }
    return {
        fetched,
        async fetch(address, length) {
            fetched.push(`${address}+${length}`)
            return Buffer.from(at(address, length))
        },
        async store({ address, bytes }) {
            at(address, bytes.length).set(bytes)
        },
    }
}

test('a model is run until all that it reads is there; what it writes comes from its last run', async (t) => {
    const own = memory(
        new Map([
            [100n, Buffer.from('abcdefgh')],
            [200n, Buffer.alloc(8)],
        ]),
    )
    let runs = 0
    const { answer, writes } = await runAgainst(own, [{ address: 10n, bytes: Buffer.of(100, 3) }], (mem) => {
        runs++
        mem.write(200n, Buffer.from('begun'))
        const [address = 0, length = 0] = mem.read(10n, 2)
        const first = mem.read(BigInt(address), length)
        const second = mem.read(BigInt(address) + 4n, 2)
        mem.write(204n, second)
        return Buffer.concat([first, second]).toString()
    })
    t.is(answer, 'abcef')
    t.is(runs, 3)
    t.deepEqual(own.fetched, ['100+3', '104+2'])
    t.deepEqual(
        writes.map(({ address, bytes }) => `${address} ${bytes}`),
        ['200 begun', '204 ef'],
    )
})

test('what a model throws is not taken for memory that is missing', async (t) => {
    const own = memory(new Map())
    await t.throwsAsync(
        runAgainst(own, [], () => {
            throw new TypeError('a bug')
        }),
        { message: 'a bug' },
    )
    await t.throwsAsync(
        runAgainst(own, [], (mem) => mem.read(1n, 1)),
        { message: 'EFAULT' },
    )
})

test('a model that never has enough is stopped', async (t) => {
    const own: CallerMemory = { fetch: async (_, length) => Buffer.alloc(length), store: async () => undefined }
    let next = 0n
    await t.throwsAsync(
        runAgainst(own, [], (mem) => mem.read(next++, 1)),
        { message: /more than 16 ranges/ },
    )
})

const DEVICE: Device = {
    mode: 0o600,
    requests: { 1: 'reverse' },
    ioctl({ request, argument }, mem) {
        if (request !== 1) return { errno: 'ENOTTY' }
        const raw = mem.read(argument, 16)
        const address = raw.readBigUInt64LE(0)
        mem.write(address, mem.read(address, 4).reverse())
        mem.write(argument + 8n, Buffer.from('answered'))
        return { errno: raw[15] === 1 ? 'EIO' : undefined, commit: () => void commits++ }
    },
}
let commits = 0

for (const { name, address, last, want } of [
    { name: 'all is well', address: 1000n, last: 0, want: { errno: null, at: 'dcba', output: 'answered' } },
    {
        name: 'an error takes the answer along',
        address: 1000n,
        last: 1,
        want: { errno: 'EIO', at: 'dcba', output: 'answered' },
    },
])
    test.serial(`ioctl: ${name}`, async (t) => {
        const bytes = Buffer.from('abcd')
        const k = kernel(
            folder({
                dev: deviceFile(
                    DEVICE,
                    gate(
                        noFaults,
                        () => 0,
                        () => undefined,
                    ),
                    () => memory(new Map([[1000n, bytes]])),
                ),
            }),
        )
        const argument = Buffer.alloc(16)
        argument.writeBigUInt64LE(address)
        argument[15] = last
        const file = await k.open('/dev', O_RDWR)
        commits = 0
        const { errno, output } = await file.ioctl(1, 50n, argument, 16)
        t.deepEqual({ errno, at: bytes.toString(), output: output.toString('latin1', 8) }, want)
        t.is(commits, 1)
        t.deepEqual(await file.ioctl(2, 50n, argument, 16), { errno: 'ENOTTY', output: argument })
    })

test.serial('ioctl: an address that is not mapped is EFAULT, and nothing is committed', async (t) => {
    const k = kernel(
        folder({
            dev: deviceFile(
                DEVICE,
                gate(
                    noFaults,
                    () => 0,
                    () => undefined,
                ),
                () => memory(new Map()),
            ),
        }),
    )
    commits = 0
    await t.throwsAsync((await k.open('/dev', O_RDWR)).ioctl(1, 50n, Buffer.alloc(16), 16), { message: 'EFAULT' })
    t.is(commits, 0)
})

test.serial('ioctl: an argument that the request does not bring is fetched', async (t) => {
    const argument = Buffer.alloc(16)
    argument.writeBigUInt64LE(1000n)
    const own = memory(
        new Map([
            [1000n, Buffer.from('abcd')],
            [50n, argument],
        ]),
    )
    const k = kernel(
        folder({
            dev: deviceFile(
                DEVICE,
                gate(
                    noFaults,
                    () => 0,
                    () => undefined,
                ),
                () => own,
            ),
        }),
    )
    const { errno } = await (await k.open('/dev', O_RDWR)).ioctl(1, 50n, Buffer.alloc(0), 0)
    t.is(errno, null)
    t.is(argument.toString('latin1', 8), 'answered')
})
