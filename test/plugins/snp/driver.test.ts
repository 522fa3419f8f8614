// The guest's side of SNP over doors in memory: which interface is used, and what comes back is checked.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { secret } from '#core/bytes.ts'
import { detect } from '#drivers/detect.ts'
import type { KeySelector, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { TsmRequest } from '#drivers/linux/configfs-tsm.ts'
import type { DeviceLock } from '#drivers/linux/device-lock.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import type { Libc } from '#drivers/linux/libc.ts'
import type { DerivedKeyRequest } from '#drivers/linux/sev-guest.ts'
import { sevGuest } from '#drivers/linux/sev-guest.ts'
import { snpDriver } from '#plugins/snp/driver.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { foreignDoors } from '../../drivers/doors.ts'
import { report, table, vendor } from './minted.ts'

const genoa = await vendor('genoa', await generateVendorKeys())

interface Kernel {
    readonly provider?: string | null
    readonly device?: boolean
    readonly platformDevice?: boolean
    readonly release?: string
    readonly answer?: (reportData: Buffer, vmpl: number) => { report: Buffer; certificates: Buffer }
}

function doors({ provider = null, device = false, platformDevice = false, release = '6.12.0', answer }: Kernel): Doors {
    const make =
        answer ??
        ((reportData: Buffer, vmpl: number) => ({
            report: report(genoa, { reportData, vmpl }),
            certificates: table(genoa),
        }))
    return {
        system: {
            kernelRelease: release,
            exists: (path) => platformDevice && path.includes('sev-guest'),
            hasCpuFlag: () => false,
            requireFilesystem: () => undefined,
        },
        tsm: {
            path: '/tsm',
            provider: async () => provider,
            async report({ inblob, privlevel = 0 }) {
                const { report, certificates } = make(Buffer.from(inblob), privlevel)
                return { outblob: report, auxblob: certificates }
            },
        },
        sevDevice: { path: '/dev/sev-guest', exists: () => device },
        sevGuest: async () => ({
            extendedReport: async ({ reportData, vmpl }) => make(Buffer.from(reportData), vmpl),
            report: async ({ reportData, vmpl }) => make(Buffer.from(reportData), vmpl).report,
            derivedKey: async () => {
                throw driverError('ERR_DEVICE_IO', 'not here')
            },
        }),
        ...foreignDoors('tdxDevice', 'tdx', 'secretArea', 'secrets'),
    }
}

for (const { name, kernel, via, want } of [
    { name: 'configfs before the device', kernel: { provider: 'sev_guest', device: true }, want: 'configfs' },
    { name: 'the device where configfs has no provider', kernel: { device: true }, want: 'ioctl' },
    {
        name: 'the device where it is named',
        kernel: { provider: 'sev_guest', device: true },
        via: 'ioctl',
        want: 'ioctl',
    },
    {
        name: 'configfs where it is named',
        kernel: { provider: 'sev_guest', device: true },
        via: 'configfs',
        want: 'configfs',
    },
] as { name: string; kernel: Kernel; via?: 'configfs' | 'ioctl'; want: string }[])
    test(`open: ${name}`, async (t) => {
        const guest = await snpDriver.open(doors(kernel), via ? { via } : {})
        t.is(guest?.probe.via, want as never)
        t.is('deriveKey' in (guest ?? {}), kernel.device ?? false)
    })

for (const { name, kernel, via } of [
    { name: 'nothing at all', kernel: {} },
    { name: "another technology's provider", kernel: { provider: 'tdx_guest' } },
] as { name: string; kernel: Kernel; via?: 'configfs' | 'ioctl' }[])
    test(`not mine: ${name}`, async (t) => {
        t.is(await snpDriver.open(doors(kernel), via ? { via } : {}), null)
        t.is(await detect([snpDriver], doors(kernel)), null)
    })

for (const { name, kernel, via, code, hint } of [
    {
        name: 'the module is missing',
        kernel: { platformDevice: true },
        code: 'ERR_DEVICE_MISSING',
        hint: /modprobe sev-guest/,
    },
    {
        name: 'a cloud kernel without the module',
        kernel: { platformDevice: true, release: '6.1.0-40-cloud-amd64' },
        code: 'ERR_DEVICE_MISSING',
        hint: /linux-image-amd64/,
    },
    {
        name: 'configfs was named and is not there',
        kernel: { platformDevice: true, device: true },
        via: 'configfs',
        code: 'ERR_VIA',
        hint: /6\.7/,
    },
    {
        name: 'the ioctl was named and is not there',
        kernel: { platformDevice: true, provider: 'sev_guest' },
        via: 'ioctl',
        code: 'ERR_VIA',
        hint: /sev-guest/,
    },
    ...(['vsock', 'securityfs'] as const).map((via) => ({
        name: `${via} was named, which is of another technology`,
        kernel: { platformDevice: true, provider: 'sev_guest', device: true },
        via,
        code: 'ERR_VIA',
        hint: /configfs or ioctl: leave --via out/,
    })),
] as { name: string; kernel: Kernel; via?: Via; code: string; hint: RegExp }[])
    test(`mine, and broken: ${name}`, async (t) => {
        const error = await t.throwsAsync(snpDriver.open(doors(kernel), via ? { via } : {}), { code })
        t.regex((error as { hint?: string }).hint ?? '', hint)
    })

const open = async (answer?: Kernel['answer']) => {
    const guest = await snpDriver.open(doors({ provider: 'sev_guest', ...(answer ? { answer } : {}) }))
    if (!guest?.evidence) throw new TypeError('no evidence')
    return guest.evidence.bind(guest)
}

test('evidence: the binding is padded behind, the table kept', async (t) => {
    const evidence = await (await open())(Buffer.from('nonce'))
    t.is(evidence.report.subarray(0x50, 0x90).toString('latin1'), 'nonce'.padEnd(64, '\0'))
    t.deepEqual(evidence.certificates, table(genoa))
})

for (const { name, answer, code } of [
    {
        name: 'a report with another nonce',
        answer: () => ({ report: report(genoa), certificates: table(genoa) }),
        code: 'ERR_SNP_WRONG_REPORT',
    },
    {
        name: 'a report for another level',
        answer: (reportData: Buffer) => ({
            report: report(genoa, { reportData, vmpl: 1 }),
            certificates: table(genoa),
        }),
        code: 'ERR_SNP_WRONG_REPORT',
    },
    {
        name: 'a short report',
        answer: () => ({ report: Buffer.alloc(100), certificates: table(genoa) }),
        code: 'ERR_SNP_LENGTH',
    },
])
    test(`what came back is refused: ${name}`, async (t) => {
        await t.throwsAsync((await open(answer))(Buffer.alloc(64, 1), { privilegeLevel: 2 }), { code })
    })

for (const { name, certificates, want } of [
    { name: 'no table', certificates: Buffer.alloc(0), want: undefined },
    { name: 'an empty table', certificates: Buffer.alloc(24), want: undefined },
    { name: 'a buffer of zeros', certificates: Buffer.alloc(0x4000), want: undefined },
    {
        name: 'a table in a larger buffer',
        certificates: Buffer.concat([table(genoa), Buffer.alloc(0x2000)]),
        want: table(genoa),
    },
])
    test(`certificates: ${name}`, async (t) => {
        const evidence = await (await open((reportData) => ({ report: report(genoa, { reportData }), certificates })))(
            Buffer.alloc(64, 1),
        )
        t.deepEqual(evidence.certificates, want)
    })

test('configfs and the device are asked under one lock, and the hints of configfs are of SNP', async (t) => {
    const kernel = doors({ provider: 'sev_guest', device: true })
    const asked: TsmRequest[] = []
    const tsm: Doors['tsm'] = {
        ...kernel.tsm,
        report(request) {
            asked.push(request)
            return kernel.tsm.report(request)
        },
    }
    const guest = await snpDriver.open({ ...kernel, tsm })
    await guest?.evidence?.(Buffer.alloc(64))
    const held: string[] = []
    const lock: DeviceLock = {
        async hold(device) {
            held.push(device)
            throw new Error('enough')
        },
    }
    const request = { reportData: Buffer.alloc(64), vmpl: 0 }
    await t.throwsAsync(sevGuest(() => ({}) as Libc, lock).report(request), { message: 'enough' })
    t.deepEqual(
        asked.map((one) => one.lock),
        held,
    )
    t.like(asked[0]?.hints, { ENXIO: 'modprobe sev-guest' })
    for (const errno of ['EIO', 'ETIMEDOUT', 'ENOTTY']) t.regex(asked[0]?.hints?.[errno] ?? '', /vmpck_id/)
})

for (const size of [0, 65])
    test(`a binding of ${size} bytes is a mistake of the caller`, async (t) => {
        await t.throwsAsync((await open())(Buffer.alloc(size)), { instanceOf: TypeError })
    })

// What is mixed into a key: the guest's own versions where a key is to be bound to them and none was told.

const OWN = { guestSvn: 7, committedTcb: 0x1b_00_00_00_00_00_00_0an }

for (const { name, selector, want } of [
    { name: 'neither', selector: { fields: ['measurement'] }, want: { guestSvn: 0, tcbVersion: 0n } },
    {
        name: 'both of this guest',
        selector: { fields: ['guestSvn', 'tcbVersion'] },
        want: { guestSvn: OWN.guestSvn, tcbVersion: OWN.committedTcb },
    },
    { name: 'the guest SVN alone', selector: { fields: ['guestSvn'] }, want: { guestSvn: 7, tcbVersion: 0n } },
    {
        name: 'what was told',
        selector: { fields: ['guestSvn', 'tcbVersion'], guestSvn: 0, tcbVersion: 1n },
        want: { guestSvn: 0, tcbVersion: 1n },
    },
    {
        name: 'one that was told, and one of this guest',
        selector: { fields: ['guestSvn', 'tcbVersion'], guestSvn: 1 },
        want: { guestSvn: 1, tcbVersion: OWN.committedTcb },
    },
] as { name: string; selector: KeySelector; want: Partial<DerivedKeyRequest> }[])
    test(`a derived key is bound to ${name}`, async (t) => {
        const requests: DerivedKeyRequest[] = []
        const machine = doors({ device: true })
        const guest = await snpDriver.open({
            ...machine,
            sevGuest: async () => ({
                ...(await machine.sevGuest()),
                report: async ({ reportData, vmpl }) =>
                    report(genoa, { ...OWN, reportData: Buffer.from(reportData), vmpl }),
                derivedKey: async (request) => {
                    requests.push(request)
                    return secret(Buffer.alloc(32))
                },
            }),
        })
        await guest?.deriveKey?.({ ...selector, privilegeLevel: 1 })
        t.is(requests.length, 1)
        t.like(requests[0], { ...want, vmpl: 1 })
    })
