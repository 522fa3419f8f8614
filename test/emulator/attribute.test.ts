// Files that a model serves, as sysfs has binary attributes: through a FUSE session in memory.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { attributeFile } from '#emulator/attribute.ts'
import { type FaultPlan, noFaults, readFaults, requestNames } from '#emulator/faults.ts'
import { gate } from '#emulator/gate.ts'
import type { AttributeFile, DeviceModel } from '#emulator/model.ts'
import { folder } from '#emulator/tree.ts'
import { kernel, O_RDONLY, O_RDWR, O_WRONLY } from './kernel.ts'

/** A register: what is written is added to it, where it is exactly two bytes. */
function register(changes: Partial<AttributeFile> = {}): AttributeFile {
    let value = Buffer.from('ab')
    return {
        mode: 0o644,
        size: 2,
        requests: { read: 'readRegister', write: 'extendRegister' },
        read: () => ({ bytes: value }),
        write({ offset, bytes }) {
            if (offset !== 0 || bytes.length !== 2) return { errno: 'EINVAL' }
            return {
                commit: () => {
                    value = Buffer.concat([value, bytes])
                },
            }
        },
        ...changes,
    }
}

const rig = (attribute: AttributeFile, plan: FaultPlan = noFaults) => {
    const way = gate(
        plan,
        () => 0,
        () => undefined,
    )
    return kernel(folder({ attribute: attributeFile(attribute, way) }))
}

test('each read gives what stands there at its time; a write reaches the model at once', async (t) => {
    const k = rig(register())
    t.is((await k.stat('/attribute')).size, 2n)
    const file = await k.open('/attribute', O_RDWR)
    t.is((await file.read()).toString(), 'ab')
    await file.write('cd')
    t.is((await file.read()).toString(), 'abcd')
    t.is((await file.read(2, 1)).toString(), 'bc')
    t.is((await file.read(2, 4)).length, 0)
    await file.close()
    t.deepEqual(k.complaints, [])
})

for (const { name, bytes, offset, want } of [
    { name: 'too short', bytes: 'c', offset: 0, want: 'EINVAL' },
    { name: 'too long', bytes: 'cde', offset: 0, want: 'EINVAL' },
    { name: 'not at the start', bytes: 'cd', offset: 2, want: 'EINVAL' },
])
    test(`a write says what the model has against it: ${name}`, async (t) => {
        const k = rig(register())
        const file = await k.open('/attribute', O_WRONLY)
        await t.throwsAsync(file.write(bytes, offset), { message: want })
        t.is((await k.readFile('/attribute')).toString(), 'ab')
    })

for (const { name, mode, flags } of [
    { name: 'read-only', mode: 0o444, flags: O_WRONLY },
    { name: 'read-only, for both', mode: 0o444, flags: O_RDWR },
    { name: 'write-only', mode: 0o200, flags: O_RDONLY },
])
    test(`what the mode does not allow, root may not do either: ${name}`, async (t) =>
        void (await t.throwsAsync(rig(register({ mode })).open('/attribute', flags), { message: 'EACCES' })))

test('what a file cannot do, and what the model refuses', async (t) => {
    const { read: _, ...writable } = register()
    const { write: __, ...readable } = register()
    const unreadable = await rig(writable).open('/attribute', O_RDWR)
    await t.throwsAsync(unreadable.read(), { message: 'EINVAL' })
    const unwritable = await rig(readable).open('/attribute', O_RDWR)
    await t.throwsAsync(unwritable.write('cd'), { message: 'EINVAL' })
    const broken = rig(register({ read: () => ({ errno: 'EIO', bytes: Buffer.alloc(0) }) }))
    await t.throwsAsync(broken.readFile('/attribute'), { message: 'EIO' })
})

test('a script of faults reaches both by their names', async (t) => {
    const attribute = register()
    const model: DeviceModel = { title: 'test', devices: {}, files: { '/sys/a': attribute, '/sys/b': attribute } }
    t.deepEqual(requestNames(model), ['readRegister', 'extendRegister'])
    const script = '[[fault]]\non = "extendRegister"\nat = 2\nkind = "errno"\nerrno = "EBUSY"\n'
    const k = rig(attribute, readFaults(script, 'script', model, {}))
    await k.writeFile('/attribute', 'cd')
    await t.throwsAsync(k.writeFile('/attribute', 'ef'), { message: 'EBUSY' })
    await k.writeFile('/attribute', 'gh')
    t.is((await k.readFile('/attribute')).toString(), 'abcdgh')
})

test('one that can be removed is asked before it goes; another stays', async (t) => {
    const way = gate(
        noFaults,
        () => 0,
        () => undefined,
    )
    let wiped = 0
    const removable = attributeFile(register({ unlink: () => ({ commit: () => void wiped++ }) }), way)
    const stubborn = attributeFile(register({ unlink: () => ({ errno: 'EBUSY' }) }), way)
    const k = kernel(folder({ removable, stubborn, attribute: attributeFile(register(), way), sub: folder() }))
    await k.unlink('/removable')
    t.is(wiped, 1)
    await t.throwsAsync(k.open('/removable', O_RDONLY), { message: 'ENOENT' })
    for (const [path, message] of [
        ['/removable', 'ENOENT'],
        ['/stubborn', 'EBUSY'],
        ['/attribute', 'EPERM'],
        ['/sub', 'EISDIR'],
    ] as const)
        await t.throwsAsync(k.unlink(path), { message }, path)
    t.is(wiped, 1)
})
