// Which guest this machine is, among drivers: none, one, more than one, and one that cannot be used.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { detect } from '#drivers/detect.ts'
import type { Driver, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { linuxDoors } from '#drivers/linux/doors.ts'
import { PLUGINS } from '#plugins.ts'
import type { Need } from '../machine.ts'
import { needs } from '../needs.ts'

const doors = linuxDoors({ spacingMs: 0 })

/** Drivers by what they find, and what became of them. */
function drivers(found: Readonly<Record<string, 'guest' | 'nothing' | 'broken'>>) {
    const happened: string[] = []
    const all = Object.entries(found).map(
        ([tee, what]): Driver => ({
            tee,
            async open(given, options) {
                happened.push(`${tee} looks${options?.via ? ` at ${options.via}` : ''}`)
                if (given !== doors) throw new TypeError('other doors')
                if (what === 'broken') throw driverError('ERR_DEVICE_MISSING', `${tee} has no device`)
                if (what === 'nothing') return null
                const probe = { via: 'ioctl', path: `/dev/${tee}`, tried: [] } as const
                return { tee, probe, close: () => void happened.push(`${tee} closes`) }
            },
        }),
    )
    return { all, happened }
}

for (const { name, found, via, want, code, happens } of [
    { name: 'no driver', found: {}, want: null, happens: [] },
    { name: 'nobody’s', found: { a: 'nothing', b: 'nothing' }, want: null, happens: ['a looks', 'b looks'] },
    { name: 'the first’s', found: { a: 'guest', b: 'nothing' }, want: 'a', happens: ['a looks', 'b looks'] },
    { name: 'the last’s', found: { a: 'nothing', b: 'guest' }, want: 'b', happens: ['a looks', 'b looks'] },
    {
        name: 'one’s, through a way that is named',
        found: { a: 'guest' },
        via: 'ioctl',
        want: 'a',
        happens: ['a looks at ioctl'],
    },
    {
        name: 'two’s',
        found: { a: 'guest', b: 'nothing', c: 'guest' },
        code: 'ERR_SEVERAL_TEES',
        happens: ['a looks', 'b looks', 'c looks', 'a closes', 'c closes'],
    },
    {
        name: 'one’s that cannot be used: no other is tried instead',
        found: { a: 'broken', b: 'guest' },
        code: 'ERR_DEVICE_MISSING',
        happens: ['a looks'],
    },
    {
        name: 'one’s, and then one’s that cannot be used',
        found: { a: 'guest', b: 'broken' },
        code: 'ERR_DEVICE_MISSING',
        happens: ['a looks', 'b looks', 'a closes'],
    },
] as {
    name: string
    found: Parameters<typeof drivers>[0]
    via?: Via
    want?: string | null
    code?: string
    happens: string[]
}[])
    test(`a guest that is ${name}`, async (t) => {
        const { all, happened } = drivers(found)
        const detecting = detect(all, doors, via ? { via } : {})
        if (code) await t.throwsAsync(detecting, { code })
        else t.is((await detecting)?.tee ?? null, want ?? null)
        t.deepEqual(happened, happens)
    })

test('two: both are named, and what to do', async (t) => {
    const { all } = drivers({ snp: 'guest', tdx: 'guest' })
    const error = await t.throwsAsync<Error & { hint?: string }>(detect(all, doors), {
        message: 'this guest answers as snp and as tdx',
    })
    t.regex(error?.hint ?? '', /--tee/)
})

const PLAIN: Need = {
    what: 'a machine that is no confidential guest',
    met:
        !doors.system.hasCpuFlag('tdx_guest') &&
        ![
            '/dev/sev-guest',
            '/sys/devices/platform/sev-guest',
            '/dev/tdx_guest',
            '/sys/devices/platform/efi_secret.0',
        ].some(doors.system.exists),
}

needs(PLAIN)('this machine, through its real doors: no guest, whichever way is named', async (t) => {
    const real = await Promise.all(PLUGINS.map((plugin) => plugin.driver()))
    for (const options of [{}, { via: 'configfs' }, { via: 'ioctl' }, { via: 'vsock' }, { via: 'securityfs' }] as const)
        t.is(await detect(real, doors, options), null)
})
