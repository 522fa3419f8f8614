// The FUSE session against messages of a real kernel, and against one in memory: what files can do, what they refuse,
// and how a caller that is killed stops waiting.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import {
    ATTR_OUT,
    BATCH_FORGET_IN,
    HANDLE_IN,
    INIT_IN,
    INIT_OUT,
    IOCTL_IN,
    MKDIR_IN,
    OPCODES,
    OPEN_IN,
    OUT_HEADER,
    readMessage,
    readName,
    TRANSFER_IN,
} from '#emulator/fuse-wire.ts'
import { fuseSession } from '#emulator/session.ts'
import { binaryWriteAttribute, type File, folder, readAttribute, textAttribute } from '#emulator/tree.ts'
import { kernel, O_RDONLY, O_RDWR, O_WRONLY } from './kernel.ts'

const recorded = new Map(
    readFileSync(new URL('./fuse-messages.txt', import.meta.url), 'utf8')
        .split('\n')
        .filter((line) => line && !line.startsWith('#'))
        .map((line) => line.split(' ') as [string, string])
        .map(([name, hex]) => [name, Buffer.from(hex, 'hex')]),
)

const bodyOf = (name: string) => readMessage(recorded.get(name) ?? Buffer.alloc(0)).body

// What a recorded message says, read with the layouts.
for (const { name, read, want } of [
    { name: 'init', read: (b: Buffer) => INIT_IN.parse(b.subarray(0, 16)), want: { major: 7, minor: 45 } },
    { name: 'lookup', read: (b: Buffer) => ({ name: readName(b) }), want: { name: 'devices' } },
    { name: 'open', read: (b: Buffer) => OPEN_IN.parse(b), want: { flags: 0x8001 } },
    { name: 'read', read: (b: Buffer) => TRANSFER_IN.parse(b), want: { fh: 1n, offset: 0n, size: 4096 } },
    { name: 'readdir', read: (b: Buffer) => TRANSFER_IN.parse(b), want: { offset: 0n, size: 32768 } },
    { name: 'write', read: (b: Buffer) => TRANSFER_IN.parse(b.subarray(0, 40)), want: { fh: 2n, size: 65 } },
    { name: 'flush', read: (b: Buffer) => HANDLE_IN.parse(b), want: { fh: 2n } },
    { name: 'release', read: (b: Buffer) => HANDLE_IN.parse(b), want: { fh: 2n } },
    { name: 'mkdir', read: (b: Buffer) => MKDIR_IN.parse(b.subarray(0, 8)), want: { mode: 0o755, umask: 0o22 } },
    { name: 'mkdir', read: (b: Buffer) => ({ name: readName(b.subarray(8)) }), want: { name: 'a' } },
    { name: 'batchForget', read: (b: Buffer) => BATCH_FORGET_IN.parse(b.subarray(0, 8)), want: { count: 2 } },
    {
        name: 'ioctl',
        read: (b: Buffer) => IOCTL_IN.parse(b.subarray(0, 32)),
        want: { cmd: 0xc0205300, inSize: 32, outSize: 32 },
    },
])
    test(`recorded ${name}: ${Object.keys(want).join(', ')}`, (t) => {
        t.like(read(bodyOf(name)), want)
        t.is(readMessage(recorded.get(name) ?? Buffer.alloc(0)).header.opcode, OPCODES[name as keyof typeof OPCODES])
    })

test('every recorded message gets one answer, but for those that want none', async (t) => {
    const replies: bigint[] = []
    const complaints: string[] = []
    const receive = fuseSession(
        folder({ a: folder() }),
        {
            send: (reply) => replies.push(OUT_HEADER.parse(reply.subarray(0, 16)).unique),
            isBeingKilled: () => false,
            complain: (text) => complaints.push(text),
        },
        0,
    )
    for (const message of recorded.values()) receive(message)
    await sleep(10)
    const wanted = [...recorded].filter(([name]) => name !== 'batchForget')
    const ascending = (numbers: bigint[]) => numbers.toSorted((a, b) => Number(a - b))
    t.deepEqual(ascending(replies), ascending(wanted.map(([, message]) => readMessage(message).header.unique)))
    t.deepEqual(complaints, [])
})

test('the protocol that is agreed on is the older one', async (t) => {
    const { ask } = kernel(folder())
    for (const [minor, want] of [
        [45, 31],
        [31, 31],
        [27, 27],
    ] as const) {
        const reply = await ask(
            'init',
            0n,
            INIT_IN.encode({ major: 7, minor, maxReadahead: 131072, flags: 0xffffffff }),
        )
        t.like(INIT_OUT.parse(reply), { major: 7, minor: want, flags: 0, maxWrite: 4096 })
    }
})

const TREE = () => {
    let written = ''
    return folder({
        made: { ...folder(), make: () => folder({ inside: textAttribute(0o444, () => 'x') }) },
        text: textAttribute(0o444, () => 'text'),
        // what was committed last
        out: readAttribute(0o400, 0, () => Buffer.from(written)),
        in: binaryWriteAttribute(0o200, 8, (bytes) => {
            written = bytes.toString()
        }),
    })
}

for (const { name, act, want } of [
    { name: 'a file that is not there', act: (k) => k.find('/none'), want: 'ENOENT' },
    { name: 'a file as a folder', act: (k) => k.find('/text/x'), want: 'ENOTDIR' },
    { name: 'a folder as a file', act: (k) => k.open('/made', O_RDONLY), want: 'EISDIR' },
    { name: 'writing what is only read', act: (k) => k.open('/text', O_WRONLY), want: 'EACCES' },
    { name: 'reading what is only written', act: (k) => k.open('/in', O_RDONLY), want: 'EACCES' },
    { name: 'both, where one is possible', act: (k) => k.open('/in', O_RDWR), want: 'EACCES' },
    { name: 'mkdir where nothing can be made', act: (k) => k.mkdir('/x'), want: 'EPERM' },
    { name: 'rmdir where nothing can be made', act: (k) => k.rmdir('/made'), want: 'EPERM' },
    { name: 'rmdir of a file', act: (k) => k.rmdir('/text'), want: 'ENOTDIR' },
    { name: 'more than fits', act: (k) => k.writeFile('/in', '123456789'), want: 'EFBIG' },
    {
        name: 'an ioctl on a file that has none',
        act: async (k) => (await k.open('/text', O_RDONLY)).ioctl(1, 0n, Buffer.alloc(0), 0),
        want: 'ENOTTY',
    },
    { name: 'an opcode that is not answered', act: (k) => k.ask('unlink', 1n, Buffer.from('text\0')), want: 'EPERM' },
    {
        name: 'a handle that is not open',
        act: (k) => k.ask('read', 1n, TRANSFER_IN.encode({ fh: 99n, offset: 0n, size: 1 })),
        want: 'EBADF',
    },
] satisfies { name: string; act: (k: ReturnType<typeof kernel>) => Promise<unknown>; want: string }[])
    test(`refused: ${name}`, async (t) => {
        const k = kernel(TREE())
        await t.throwsAsync(act(k), { message: want })
        t.deepEqual(k.complaints, [])
    })

test('folders are made once, and removed', async (t) => {
    const k = kernel(TREE())
    await k.mkdir('/made/a')
    await t.throwsAsync(k.mkdir('/made/a'), { message: 'EEXIST' })
    t.deepEqual(await k.list('/made'), ['a'])
    t.is((await k.readFile('/made/a/inside')).toString(), 'x\n')
    const gone = await k.find('/made/a')
    await k.rmdir('/made/a')
    t.deepEqual(await k.list('/made'), [])
    await t.throwsAsync(k.find('/made/a'), { message: 'ENOENT' })
    t.is(ATTR_OUT.parse(await k.ask('getattr', gone, Buffer.alloc(16))).attr.ino, gone) // the kernel may still hold it
})

test('what is written is committed on close, once', async (t) => {
    const k = kernel(TREE())
    const file = await k.open('/in', O_WRONLY)
    await file.write('abcd')
    await file.write('XY', 1)
    t.is((await k.readFile('/out')).toString(), '')
    await file.close()
    t.is((await k.readFile('/out')).toString(), 'aXYd')
})

test('a read is of what was there at the first one', async (t) => {
    const k = kernel(TREE())
    await k.writeFile('/in', 'old')
    const file = await k.open('/out', O_RDONLY)
    t.is((await file.read(2)).toString(), 'ol')
    await k.writeFile('/in', 'new!')
    t.is((await file.read(9, 2)).toString(), 'd')
    t.is((await k.readFile('/out')).toString(), 'new!')
})

function slowFile(): { file: File; finish: () => void } {
    const { promise, resolve } = Promise.withResolvers<Buffer>()
    return { file: readAttribute(0o444, 0, () => promise), finish: () => resolve(Buffer.from('late')) }
}

test('a caller that is being killed is answered at once', async (t) => {
    const { file, finish } = slowFile()
    const k = kernel(folder({ slow: file }), () => true)
    const read = (await k.open('/slow', O_RDONLY)).read()
    k.interrupt(k.last())
    await t.throwsAsync(read, { message: 'EINTR' })
    finish()
    await sleep(10)
    t.deepEqual(k.complaints, []) // and not twice
})

test('a signal that the caller handles does not end its request; a later one that kills does', async (t) => {
    const { file, finish } = slowFile()
    let killed = false
    const k = kernel(folder({ slow: file }), () => killed)
    const open = await k.open('/slow', O_RDONLY)
    const first = open.read()
    k.interrupt(k.last())
    await sleep(120)
    finish()
    t.is((await first).toString(), 'late')

    const again = slowFile()
    const k2 = kernel(folder({ slow: again.file }), () => killed)
    const second = (await k2.open('/slow', O_RDONLY)).read()
    k2.interrupt(k2.last())
    await sleep(60)
    killed = true
    await t.throwsAsync(second, { message: 'EINTR' })
})
