// The registers of a TD: what is read, what may be extended and by how much, and somebody else who extends meanwhile,
// played on files in memory. The kernel's own files are tried against the emulator.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import type { DeviceLock } from '#drivers/linux/device-lock.ts'
import { type Measurements, measurements, type RegisterFs, realRegisterFs } from '#drivers/linux/measurements.ts'
import type { System } from '#drivers/linux/system.ts'
import { temporaryFolder } from '#test/folder.ts'

const noLock: DeviceLock = { hold: (_device, request) => request() }
const anySystem: System = {
    kernelRelease: '6.16.0',
    exists: () => true,
    hasCpuFlag: () => true,
    requireFilesystem: () => undefined,
}

const errno = (code: string): Error => Object.assign(new Error(code), { code })

const sha384 = (...parts: readonly Uint8Array[]): Buffer => {
    const hash = createHash('sha384')
    for (const part of parts) hash.update(part)
    return hash.digest()
}

/** As the kernel keeps them: what is written is hashed behind what was there. */
function kernel(over: Partial<RegisterFs> = {}) {
    const values: Record<string, Buffer> = {
        'rtmr1:sha384': Buffer.alloc(48, 1),
        'rtmr0:sha384': Buffer.alloc(48),
        'mrtd:sha384': Buffer.alloc(48, 0xaa),
        mrownerconfig: Buffer.alloc(48, 4),
        mrconfigid: Buffer.alloc(48, 2),
        mrowner: Buffer.alloc(48, 3),
        'newer:sha512': Buffer.alloc(64, 5),
        UEVENT: Buffer.from('not a register'),
    }
    const of = (path: string): string => path.split('/').at(-1) ?? ''
    const fs: RegisterFs = {
        list: () => Object.keys(values).map((name) => ({ name, writable: /^(?:rtmr|newer)/.test(name) })),
        read: (path) => values[of(path)] ?? Buffer.alloc(0),
        write(path, bytes) {
            values[of(path)] = sha384(values[of(path)] ?? Buffer.alloc(0), bytes)
            return bytes.length
        },
        ...over,
    }
    return { door: measurements(anySystem, noLock, fs, '/measurements'), values, fs }
}

const digest = Buffer.alloc(48, 0x5a)

test('all of them, in the order of their specification, and what is new behind', async (t) => {
    t.deepEqual(
        (await kernel().door.read()).map(({ name, algorithm, extensible, value }) => [
            name,
            algorithm,
            extensible,
            value[0],
        ]),
        [
            ['mrtd', 'sha384', false, 0xaa],
            ['mrconfigid', null, false, 2],
            ['mrowner', null, false, 3],
            ['mrownerconfig', null, false, 4],
            ['rtmr0', 'sha384', true, 0],
            ['rtmr1', 'sha384', true, 1],
            ['newer', 'sha512', true, 5],
        ],
    )
})

test('a register is extended once, by these 48 bytes', async (t) => {
    const { door, values } = kernel()
    await door.extend('rtmr1', digest)
    t.deepEqual(values['rtmr1:sha384'], sha384(Buffer.alloc(48, 1), digest))
    t.deepEqual(values['rtmr0:sha384'], Buffer.alloc(48))
})

for (const { name, register, by = digest, says } of [
    { name: 'one that is not there', register: 'rtmr9', says: /no register is called rtmr9/ },
    { name: 'its file name', register: 'rtmr1:sha384', says: /no register is called/ },
    { name: 'a way out of the folder', register: '../rtmr1', says: /no register is called/ },
    { name: 'one of the launch', register: 'mrtd', says: /mrtd is fixed/ },
    { name: 'one that is no digest', register: 'mrowner', says: /mrowner is fixed/ },
    { name: '47 bytes', register: 'rtmr1', by: Buffer.alloc(47), says: /sha384 digest of 48 bytes, got 47/ },
    { name: '49 bytes', register: 'rtmr1', by: Buffer.alloc(49), says: /sha384 digest of 48 bytes, got 49/ },
    { name: 'nothing', register: 'rtmr1', by: Buffer.alloc(0), says: /got 0/ },
] as { name: string; register: string; by?: Buffer; says: RegExp }[])
    test(`not extended: ${name}`, async (t) => {
        const { door } = kernel({
            write: () => {
                throw new TypeError('written')
            },
        })
        const error = await t.throwsAsync<AttestError>(door.extend(register, by), {
            code: 'ERR_REGISTER',
            message: says,
        })
        t.is(error?.hint, 'registers that a guest extends: rtmr0, rtmr1, newer')
    })

test('somebody else extends between the two reads: said, whichever came first', async (t) => {
    const other = Buffer.alloc(48, 0x77)
    for (const isFirst of [true, false]) {
        const { door, values } = kernel({
            write(_path, bytes) {
                const before = values['rtmr1:sha384'] ?? Buffer.alloc(0)
                const [first, second] = isFirst ? [other, bytes] : [bytes, other]
                values['rtmr1:sha384'] = sha384(sha384(before, first), second)
                return bytes.length
            },
        })
        await t.throwsAsync(door.extend('rtmr1', digest), { code: 'ERR_REGISTER_RACE' })
    }
})

for (const { name, over, code } of [
    { name: 'a part is written', over: { write: () => 47 }, code: 'ERR_DEVICE_IO' },
    {
        name: 'the module refuses',
        over: {
            write: () => {
                throw errno('EIO')
            },
        },
        code: 'ERR_DEVICE_IO',
    },
    {
        name: 'this user may not',
        over: {
            write: () => {
                throw errno('EACCES')
            },
        },
        code: 'ERR_DEVICE_ACCESS',
    },
    { name: 'an empty register', over: { read: () => Buffer.alloc(0) }, code: 'ERR_DEVICE_RESPONSE' },
    { name: 'a register without end', over: { read: () => Buffer.alloc(65) }, code: 'ERR_DEVICE_RESPONSE' },
    {
        name: 'a folder that has gone',
        over: {
            list: () => {
                throw errno('ENOENT')
            },
        },
        code: 'ERR_DEVICE_IO',
    },
] as { name: string; over: Partial<RegisterFs>; code: string }[])
    test(`what goes wrong is named: ${name}`, async (t) => {
        await t.throwsAsync(kernel(over).door.extend('rtmr1', digest), { code })
    })

test('a folder that is not on sysfs is refused; one that is not there is none', (t) => {
    const refusing = {
        ...anySystem,
        requireFilesystem: () => {
            throw Object.assign(new Error('no'), { code: 'ERR_DEVICE_KIND' })
        },
    }
    const door = (system: System): Measurements => measurements(system, noLock, kernel().fs, '/measurements')
    t.true(door(anySystem).exists())
    t.false(door({ ...anySystem, exists: () => false }).exists())
    t.throws(() => door(refusing).exists(), { code: 'ERR_DEVICE_KIND' })
})

test('the real files: one write at the start, no folder among them', (t) => {
    const path = join(temporaryFolder(t), 'measurements')
    mkdirSync(join(path, 'power'), { recursive: true })
    for (const [name, mode] of [
        ['rtmr0:sha384', 0o644],
        ['mrowner', 0o444],
    ] as const) {
        writeFileSync(join(path, name), Buffer.alloc(48, 1))
        chmodSync(join(path, name), mode)
    }
    t.deepEqual(
        realRegisterFs.list(path).toSorted((a, b) => (a.name < b.name ? -1 : 1)),
        [
            { name: 'mrowner', writable: false },
            { name: 'rtmr0:sha384', writable: true },
        ],
    )
    t.is(realRegisterFs.write(join(path, 'rtmr0:sha384'), digest), 48)
    t.deepEqual(readFileSync(join(path, 'rtmr0:sha384')), digest)
    t.deepEqual(realRegisterFs.read(join(path, 'rtmr0:sha384'), 65), digest)
    t.is(realRegisterFs.read(join(path, 'mrowner'), 10).length, 10)
})
