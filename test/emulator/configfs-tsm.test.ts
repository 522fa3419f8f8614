// configfs-tsm as Linux has it (drivers/virt/coco/guest/report.c), through a FUSE session in memory.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { configfsFolder } from '#emulator/configfs-tsm.ts'
import { type FaultPlan, noFaults } from '#emulator/faults.ts'
import { gate } from '#emulator/gate.ts'
import type { TsmProvider, TsmRequest } from '#emulator/model.ts'
import { type Kernel, kernel, O_RDONLY } from './kernel.ts'

interface Rig extends Kernel {
    /** What the provider was asked for. */
    readonly asked: TsmRequest[]
}

const ENTRY = '/tsm/report/a'

async function rig(changes: Partial<TsmProvider> = {}, plan: FaultPlan = noFaults): Promise<Rig> {
    const asked: TsmRequest[] = []
    const provider: TsmProvider = {
        name: 'test_guest',
        privlevelFloor: 1,
        hasAuxblob: true,
        report(request) {
            asked.push(request)
            return { outblob: Buffer.from(`report ${asked.length}`), auxblob: Buffer.from(`aux ${asked.length}`) }
        },
        ...changes,
    }
    const way = gate(
        plan,
        () => 0,
        () => undefined,
    )
    const k = kernel(configfsFolder(provider, way))
    await k.mkdir(ENTRY)
    return { ...k, asked }
}

const text = async (k: Kernel, name: string) => (await k.readFile(`${ENTRY}/${name}`)).toString()

test('without a provider nothing can be made', async (t) => {
    const k = kernel(
        configfsFolder(
            undefined,
            gate(
                noFaults,
                () => 0,
                () => undefined,
            ),
        ),
    )
    await t.throwsAsync(k.mkdir(ENTRY), { message: 'ENXIO' })
    await t.throwsAsync(k.mkdir('/tsm/other'), { message: 'EPERM' })
})

for (const { name, changes, want } of [
    {
        name: 'a provider with levels and certificates',
        changes: {},
        want: ['auxblob', 'generation', 'inblob', 'outblob', 'privlevel', 'privlevel_floor', 'provider'],
    },
    {
        name: 'a provider with neither',
        changes: { privlevelFloor: undefined, hasAuxblob: false } as unknown as Partial<TsmProvider>,
        want: ['generation', 'inblob', 'outblob', 'provider'],
    },
])
    test(`attributes: ${name}`, async (t) => t.deepEqual(await (await rig(changes)).list(ENTRY), want))

test('sizes and modes: binary attributes say 0, text ones a page', async (t) => {
    const k = await rig()
    for (const [name, mode, size] of [
        ['inblob', 0o100200, 0n],
        ['outblob', 0o100400, 0n],
        ['auxblob', 0o100400, 0n],
        ['privlevel', 0o100200, 4096n],
        ['provider', 0o100444, 4096n],
        ['generation', 0o100444, 4096n],
    ] as const)
        t.like(await k.stat(`${ENTRY}/${name}`), { mode, size }, name)
})

test('a report is made at the first read after a write, and kept', async (t) => {
    const k = await rig()
    t.is(await text(k, 'generation'), '0\n')
    await k.writeFile(`${ENTRY}/inblob`, 'nonce')
    t.is(await text(k, 'generation'), '1\n')
    t.is(k.asked.length, 0)
    t.is(await text(k, 'outblob'), 'report 1')
    t.is(await text(k, 'auxblob'), 'aux 1')
    t.is(await text(k, 'outblob'), 'report 1')
    t.like(k.asked[0], { inblob: Buffer.from('nonce'), privlevel: 0 })
    await k.writeFile(`${ENTRY}/privlevel`, '2')
    t.is(await text(k, 'generation'), '2\n')
    t.is(await text(k, 'auxblob'), 'aux 2')
    t.is(await text(k, 'outblob'), 'report 2')
    t.is(k.asked[1]?.privlevel, 2)
    t.is(await text(k, 'provider'), 'test_guest\n')
    t.is(await text(k, 'privlevel_floor'), '1\n')
})

test('outblob before inblob is refused, and the descriptor can be read later', async (t) => {
    const k = await rig()
    const file = await k.open(`${ENTRY}/outblob`, O_RDONLY)
    await t.throwsAsync(file.read(), { message: 'EINVAL' })
    await k.writeFile(`${ENTRY}/inblob`, 'nonce')
    t.is((await file.read()).toString(), 'report 1')
})

test('an inblob of more than 64 bytes is refused by write(2), and counts for nothing', async (t) => {
    const k = await rig()
    await t.throwsAsync(k.writeFile(`${ENTRY}/inblob`, Buffer.alloc(65)), { message: 'EFBIG' })
    t.is(await text(k, 'generation'), '0\n')
})

for (const [written, want] of [
    ['1', 1],
    ['2\n', 2],
    ['0x3', 3],
    ['03', 3],
    ['+2', 2],
    ['0', 'EINVAL'],
    ['4', 'EINVAL'],
    ['', 'EINVAL'],
    ['2 ', 'EINVAL'],
    ['-1', 'EINVAL'],
    ['08', 'EINVAL'],
    ['two', 'EINVAL'],
    ['99999999999', 'ERANGE'],
    ['\x02', 'EINVAL'], // a raw byte, as some clients write it
] as const)
    test(`privlevel ${JSON.stringify(written)} is ${want}`, async (t) => {
        const k = await rig()
        const write = k.writeFile(`${ENTRY}/privlevel`, written)
        if (typeof want === 'string') await t.throwsAsync(write, { message: want })
        else await write
        t.is(await text(k, 'generation'), typeof want === 'string' ? '0\n' : '1\n')
        await k.writeFile(`${ENTRY}/inblob`, 'x')
        await text(k, 'outblob')
        t.is(k.asked[0]?.privlevel, typeof want === 'string' ? 0 : want)
    })

test('what the provider refuses, the read says; the next read asks again', async (t) => {
    let calls = 0
    const k = await rig({
        report: () =>
            calls++ === 0
                ? { errno: 'EIO', outblob: Buffer.alloc(0), auxblob: Buffer.alloc(0) }
                : { outblob: Buffer.from('ok'), auxblob: Buffer.alloc(0) },
    })
    await k.writeFile(`${ENTRY}/inblob`, 'x')
    await t.throwsAsync(text(k, 'outblob'), { message: 'EIO' })
    t.is(await text(k, 'outblob'), 'ok')
    t.is(await text(k, 'auxblob'), '')
})

test('an entry that was removed has nothing more to say to who holds its files', async (t) => {
    const k = await rig()
    await k.writeFile(`${ENTRY}/inblob`, 'x')
    const taken = await k.open(`${ENTRY}/outblob`, O_RDONLY)
    await taken.read()
    const fresh = await k.open(`${ENTRY}/outblob`, O_RDONLY)
    await k.rmdir(ENTRY)
    t.is((await taken.read()).toString(), 'report 1')
    await t.throwsAsync(fresh.read(), { message: 'ENOENT' })
})

test('two entries do not see each other', async (t) => {
    const k = await rig()
    await k.mkdir('/tsm/report/b')
    await k.writeFile(`${ENTRY}/inblob`, 'x')
    await t.throwsAsync(k.readFile('/tsm/report/b/outblob'), { message: 'EINVAL' })
    t.is((await k.readFile('/tsm/report/b/generation')).toString(), '0\n')
})

test('a race: the generation is one more than what was written', async (t) => {
    const k = await rig(
        {},
        { meet: () => ({ faults: [{ kind: 'generation-race', params: {} }], commit: () => undefined }) },
    )
    await k.writeFile(`${ENTRY}/inblob`, 'x')
    t.is(await text(k, 'outblob'), 'report 1')
    t.is(await text(k, 'generation'), '2\n')
})
