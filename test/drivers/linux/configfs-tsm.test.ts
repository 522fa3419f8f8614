// configfs-tsm: races and errors that a kernel shows too rarely, played on a file system in memory.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import { type ConfigFs, tsmReports } from '#drivers/linux/configfs-tsm.ts'
import type { DeviceLock } from '#drivers/linux/device-lock.ts'
import type { System } from '#drivers/linux/system.ts'

const noLock: DeviceLock = { hold: (_device, request) => request() }
const anySystem: System = {
    kernelRelease: '6.12.0',
    exists: () => true,
    hasCpuFlag: () => false,
    requireFilesystem: () => undefined,
}

const errno = (code: string): Error => Object.assign(new Error(code), { code })

interface Fake {
    /** Attributes by their names; a function is called at each read. */
    readonly files: Record<string, string | Buffer | (() => string | Buffer)>
    readonly onWrite?: (name: string, data: Uint8Array) => void
    readonly mkdir?: () => void
}

function fake({ files, onWrite, mkdir }: Fake) {
    const made = new Set<string>()
    const name = (path: string): string => path.split('/').at(-1) ?? ''
    const fs: ConfigFs = {
        async mkdir(path) {
            mkdir?.()
            made.add(path)
        },
        async write(path, data) {
            onWrite?.(name(path), data)
        },
        async read(path) {
            const value = files[name(path)]
            if (value === undefined) throw errno('ENOENT')
            return Buffer.from(typeof value === 'function' ? value() : value)
        },
        async rmdir(path) {
            made.delete(path)
        },
    }
    return { tsm: tsmReports(anySystem, noLock, fs, '/tsm'), made }
}

/** A kernel that behaves: each write counts one. */
function kernel(over: Partial<Fake['files']> = {}, afterWrite: (written: string[]) => void = () => undefined) {
    const written: string[] = []
    let generation = 0
    return {
        ...fake({
            files: {
                provider: 'sev_guest\n',
                generation: () => `${generation}\n`,
                outblob: 'report',
                auxblob: 'table',
                ...(over as Fake['files']),
            },
            onWrite(name, data) {
                written.push(`${name}=${Buffer.from(data).toString('latin1')}`)
                generation++
                afterWrite(written)
            },
        }),
        written,
        bump: () => generation++,
    }
}

const request = { provider: 'sev_guest', lock: 'the-lock', inblob: Buffer.alloc(64, 0x61) }

test('a report: the privilege level in decimal, then the bytes, and the entry is gone afterwards', async (t) => {
    const { tsm, written, made } = kernel()
    const { outblob, auxblob } = await tsm.report({ ...request, privlevel: 2 })
    t.is(outblob.toString(), 'report')
    t.is(auxblob.toString(), 'table')
    t.deepEqual(written, ['privlevel=2', `inblob=${'a'.repeat(64)}`])
    t.is(made.size, 0)
})

test('no certificates where the provider has no such attribute', async (t) => {
    const { tsm } = kernel({
        auxblob: () => {
            throw errno('ENOENT')
        },
    })
    t.is((await tsm.report(request)).auxblob.length, 0)
})

test('somebody else wrote in between: asked again', async (t) => {
    let reads = 0
    const given = kernel({
        outblob: () => {
            if (reads++ === 0) given.bump()
            return `report ${reads}`
        },
    })
    t.is((await given.tsm.report(request)).outblob.toString(), 'report 2')
    t.is(given.written.length, 2)
})

test('somebody else always writes in between: given up', async (t) => {
    const given = kernel({
        outblob: () => {
            given.bump()
            return 'report'
        },
    })
    await t.throwsAsync(given.tsm.report(request), { code: 'ERR_TSM_RACE' })
    t.is(given.made.size, 0)
})

test('a commit that close(2) swallowed shows in the generation', async (t) => {
    const { tsm } = fake({ files: { provider: 'sev_guest', generation: '7', outblob: 'stale', auxblob: '' } })
    await t.throwsAsync(tsm.report(request), { code: 'ERR_TSM_RACE' })
})

for (const { name, files, mkdir, code } of [
    { name: 'another provider', files: { provider: 'tdx_guest' }, code: 'ERR_TSM_PROVIDER' },
    { name: 'an empty report', files: { outblob: '' }, code: 'ERR_TSM_EMPTY' },
    { name: 'a generation that is no number', files: { generation: 'many' }, code: 'ERR_DEVICE_RESPONSE' },
    {
        name: 'mkdir: no provider',
        mkdir: () => {
            throw errno('ENXIO')
        },
        code: 'ERR_DEVICE_GONE',
    },
    {
        name: 'mkdir: not allowed',
        mkdir: () => {
            throw errno('EACCES')
        },
        code: 'ERR_DEVICE_ACCESS',
    },
    ...(
        [
            ['EINVAL', 'ERR_DEVICE_REQUEST'],
            ['EBUSY', 'ERR_DEVICE_BUSY'],
            ['EAGAIN', 'ERR_DEVICE_BUSY'],
            ['EINTR', 'ERR_DEVICE_BUSY'],
            ['ETIMEDOUT', 'ERR_DEVICE_THROTTLED'],
            ['EIO', 'ERR_DEVICE_IO'],
            ['ENOTTY', 'ERR_DEVICE_KEY_LOST'],
            ['ENXIO', 'ERR_DEVICE_GONE'],
            ['ENOTCONN', 'ERR_DEVICE_GONE'],
            ['ECONNABORTED', 'ERR_DEVICE_GONE'],
            ['EFBIG', 'ERR_TSM_TOO_LARGE'],
            ['ENOMEM', 'ERR_TSM_TOO_LARGE'],
            ['EPROTO', 'ERR_DEVICE_IO'],
        ] as const
    ).map(([from, code]) => ({
        name: `outblob: ${from}`,
        files: {
            outblob: () => {
                throw errno(from)
            },
        },
        code,
    })),
] as { name: string; files?: Fake['files']; mkdir?: () => void; code: string }[])
    test(`refused: ${name}`, async (t) => {
        const { tsm, made } = mkdir ? fake({ files: {}, mkdir }) : kernel(files)
        const { hint = '' } = (await t.throwsAsync<AttestError>(tsm.report(request), { code })) ?? {}
        t.notRegex(hint, /sev|snp|tdx|vmpl/i, 'this door serves every technology')
        t.is(made.size, 0)
    })

for (const { name, given } of [
    {
        name: 'mkdir',
        given: fake({
            files: {},
            mkdir: () => {
                throw errno('ENXIO')
            },
        }),
    },
    {
        name: 'outblob',
        given: kernel({
            outblob: () => {
                throw errno('ENXIO')
            },
        }),
    },
])
    test(`the hint of the technology, where ${name} fails`, async (t) => {
        const hints = { ENXIO: 'modprobe tdx-guest', EIO: 'another' }
        const error = await t.throwsAsync<AttestError>(given.tsm.report({ ...request, hints }))
        t.is(error?.hint, 'modprobe tdx-guest')
    })

test('the lock that is named is held for the whole request', async (t) => {
    const held: string[] = []
    const lock: DeviceLock = {
        async hold(device, run) {
            held.push(device)
            return run()
        },
    }
    const broken: ConfigFs = { ...({} as ConfigFs), mkdir: () => Promise.reject(errno('EBUSY')) }
    await t.throwsAsync(tsmReports(anySystem, lock, broken, '/tsm').report(request), { code: 'ERR_DEVICE_BUSY' })
    t.deepEqual(held, ['the-lock'])
})

test('the provider: its name, or null where none is registered', async (t) => {
    t.is(await kernel().tsm.provider(), 'sev_guest')
    t.is(
        await fake({
            files: {},
            mkdir: () => {
                throw errno('ENXIO')
            },
        }).tsm.provider(),
        null,
    )
    await t.throwsAsync(
        fake({
            files: {},
            mkdir: () => {
                throw errno('EACCES')
            },
        }).tsm.provider(),
        { code: 'ERR_DEVICE_ACCESS' },
    )
})

test('a folder that is not on configfs is refused', async (t) => {
    const system: System = {
        ...anySystem,
        requireFilesystem: () => {
            throw Object.assign(new Error('no'), { code: 'ERR_DEVICE_KIND' })
        },
    }
    const tsm = tsmReports(system, noLock, {} as ConfigFs, '/tsm')
    await t.throwsAsync(tsm.report(request), { code: 'ERR_DEVICE_KIND' })
})
