// The guest's side of TDX over doors in memory: which way is used, what is refused by name, and what leaves the guest.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import { detect } from '#drivers/detect.ts'
import type { Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import type { TsmRequest } from '#drivers/linux/configfs-tsm.ts'
import type { Doors } from '#drivers/linux/doors.ts'
import { tdxDriver } from '#plugins/tdx/driver.ts'
import { REPORT_TYPE_TDX, TD_REPORT } from '#plugins/tdx/emulated/td-report.ts'
import { DEFAULT_PLATFORM, generateVendorKeys, mintChain } from '#plugins/tdx/mint/mint.ts'
import { mintQuote } from '#plugins/tdx/mint/quote.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { foreignDoors } from '../../drivers/doors.ts'

const keys = await generateVendorKeys()
const certificates = await mintChain(keys, DEFAULT_PLATFORM, new Date())

const quoteOf = (reportData: Uint8Array, version: 4 | 5 = 4): Buffer =>
    mintQuote({ keys, certificates }, { version, body: { reportData: Buffer.from(reportData) } })

interface Kernel {
    readonly provider?: string | null
    readonly device?: 'quotes' | 'reports'
    readonly flag?: boolean
    readonly port?: number
    readonly registers?: boolean
    readonly log?: Buffer | (() => Buffer)
    readonly release?: string
    /** What comes back for the 64 bytes. */
    readonly answer?: (reportData: Buffer) => Buffer
    readonly asked?: TsmRequest[]
}

function doors(kernel: Kernel): Doors {
    const { provider = null, device, flag = false, port, registers = false, log, release = '6.12.0' } = kernel
    const answer = kernel.answer ?? ((reportData) => quoteOf(reportData))
    const reported = (reportData: Uint8Array): Buffer => Buffer.concat([Buffer.from('report of '), reportData])
    return {
        system: {
            kernelRelease: release,
            exists: () => false,
            hasCpuFlag: (name) => flag && name === 'tdx_guest',
            requireFilesystem: () => undefined,
        },
        ...foreignDoors('sevDevice', 'sevGuest', 'secretArea', 'secrets'),
        tsm: {
            path: '/tsm',
            provider: async () => provider,
            async report(request) {
                kernel.asked?.push(request)
                return { outblob: answer(Buffer.from(request.inblob)), auxblob: Buffer.alloc(0) }
            },
        },
        tdxDevice: { path: '/dev/tdx_guest', find: () => (device === undefined ? null : '/dev/tdx_guest') },
        tdx: async () => ({
            tdxGuest: {
                makesQuotes: async () => device === 'quotes',
                report: async ({ reportData }) => reported(reportData),
                quote: async ({ reportData }) => answer(Buffer.from(reportData)),
            },
            quotingService: {
                path: '/etc/tdx-attest.conf',
                port: () => port ?? null,
                quote: async (tdReport) => answer(Buffer.from(tdReport).subarray('report of '.length)),
            },
            measurements: {
                path: '/measurements',
                exists: () => registers,
                read: async () => [],
                extend: async () => undefined,
            },
            firmwareLog: {
                path: '/CCEL',
                exists: () => log !== undefined,
                read: () => (typeof log === 'function' ? log() : (log ?? Buffer.alloc(0))),
            },
        }),
    }
}

const viaOption = (via: Via | undefined) => (via ? { via } : {})

const WHOLE: Kernel = { provider: 'tdx_guest', device: 'quotes', flag: true, port: 4050 }

for (const { name, kernel, via, want, tried } of [
    { name: 'configfs first', kernel: WHOLE, want: 'configfs', tried: ['configfs: tdx_guest'] },
    {
        name: 'then the device',
        kernel: { ...WHOLE, provider: null },
        want: 'ioctl',
        tried: ['configfs: nothing', 'ioctl: a device that makes quotes'],
    },
    {
        name: 'then the quoting service',
        kernel: { device: 'reports', port: 4050 },
        want: 'vsock',
        tried: ['configfs: nothing', 'ioctl: a device that makes reports alone', 'vsock: port 4050'],
    },
    { name: 'configfs, named', kernel: WHOLE, via: 'configfs', want: 'configfs', tried: ['configfs: tdx_guest'] },
    {
        name: 'the device, named',
        kernel: WHOLE,
        via: 'ioctl',
        want: 'ioctl',
        tried: ['ioctl: a device that makes quotes'],
    },
    { name: 'the service, named', kernel: WHOLE, via: 'vsock', want: 'vsock', tried: ['vsock: port 4050'] },
    {
        name: 'the device, named, whoever serves configfs',
        kernel: { ...WHOLE, provider: 'sev_guest' },
        via: 'ioctl',
        want: 'ioctl',
        tried: ['ioctl: a device that makes quotes'],
    },
] as { name: string; kernel: Kernel; via?: Via; want: Via; tried: string[] }[])
    test(`open: ${name}`, async (t) => {
        const guest = await tdxDriver.open(doors(kernel), viaOption(via))
        t.is(guest?.probe.via, want)
        t.deepEqual(
            guest?.probe.tried.map((attempt) => `${attempt.via}: ${attempt.found}`),
            tried,
        )
        const binding = Buffer.alloc(64, 3)
        const evidence = await guest?.evidence?.(binding)
        t.deepEqual(parseQuote(evidence?.report ?? Buffer.alloc(0)).body.reportData, binding)
    })

for (const { name, kernel, via } of [
    { name: 'nothing at all', kernel: {} },
    { name: "another technology's provider", kernel: { provider: 'sev_guest' } },
    { name: 'a file that names a port', kernel: { port: 4050 } },
    ...(['configfs', 'ioctl', 'vsock'] as const).map((via) => ({ name: `nothing, by ${via}`, kernel: {}, via })),
] as { name: string; kernel: Kernel; via?: Via }[])
    test(`not mine: ${name}`, async (t) => {
        t.is(await tdxDriver.open(doors(kernel), viaOption(via)), null)
        t.is(await detect([tdxDriver], doors(kernel), viaOption(via)), null)
    })

for (const { name, kernel, via, code, hint } of [
    { name: 'the module is missing', kernel: { flag: true }, code: 'ERR_DEVICE_MISSING', hint: /modprobe tdx_guest/ },
    {
        name: 'a port, and no device to report with',
        kernel: { flag: true, port: 4050 },
        code: 'ERR_DEVICE_MISSING',
        hint: /modprobe tdx_guest/,
    },
    {
        name: 'a kernel between the device and configfs',
        kernel: { device: 'reports', release: '6.5.0' },
        code: 'ERR_DEVICE_MISSING',
        hint: /Linux 6\.7 \(this is 6\.5\.0\)/,
    },
    {
        name: 'configfs was named and is not there',
        kernel: { device: 'quotes' },
        via: 'configfs',
        code: 'ERR_VIA',
        hint: /6\.7/,
    },
    {
        name: 'the ioctl was named, and the kernel is an upstream one',
        kernel: { provider: 'tdx_guest', device: 'reports' },
        via: 'ioctl',
        code: 'ERR_VIA',
        hint: /no upstream kernel/,
    },
    {
        name: 'the service was named, and no file names its port',
        kernel: { device: 'reports' },
        via: 'vsock',
        code: 'ERR_VIA',
        hint: /tdx-attest\.conf, as `port=4050`/,
    },
    {
        name: 'the service was named, and there is no device to report with',
        kernel: { flag: true, port: 4050 },
        via: 'vsock',
        code: 'ERR_VIA',
        hint: /modprobe tdx_guest/,
    },
    {
        name: 'securityfs was named, which is of another technology',
        kernel: { provider: 'tdx_guest', device: 'quotes', port: 4050 },
        via: 'securityfs',
        code: 'ERR_VIA',
        hint: /configfs, ioctl or vsock: leave --via out/,
    },
    {
        name: 'SNP’s provider answers beside the device',
        kernel: { provider: 'sev_guest', device: 'quotes' },
        code: 'ERR_TSM_PROVIDER',
        hint: /not the TDX driver/,
    },
    {
        name: 'SNP’s provider answers in a TD',
        kernel: { provider: 'sev_guest', flag: true, port: 4050 },
        via: 'configfs',
        code: 'ERR_TSM_PROVIDER',
        hint: /not the TDX driver/,
    },
] as { name: string; kernel: Kernel; via?: Via; code: string; hint: RegExp }[])
    test(`mine, and broken: ${name}`, async (t) => {
        const error = await t.throwsAsync<AttestError>(tdxDriver.open(doors(kernel), viaOption(via)), { code })
        t.regex(error?.hint ?? '', hint)
    })

const open = async (kernel: Kernel = {}) => {
    const guest = await tdxDriver.open(doors({ provider: 'tdx_guest', ...kernel }))
    if (!guest?.evidence) throw new TypeError('no evidence')
    return guest.evidence.bind(guest)
}

test('evidence: the binding is padded behind', async (t) => {
    const { tee, report } = await (await open())(Buffer.from('nonce'))
    t.is(tee, 'tdx')
    t.is(parseQuote(report).body.reportData.toString('latin1'), 'nonce'.padEnd(64, '\0'))
})

for (const version of [4, 5] as const)
    for (const { name, padding } of [
        { name: 'nothing', padding: Buffer.alloc(0) },
        { name: 'zeros', padding: Buffer.alloc(3000) },
        { name: 'memory of the kernel', padding: Buffer.from('a key of somebody else'.repeat(100)) },
    ])
        test(`what leaves the guest is the quote alone: version ${version}, ${name} behind it`, async (t) => {
            const reportData = Buffer.alloc(64, 5)
            const quote = quoteOf(reportData, version)
            const ask = await open({ answer: () => Buffer.concat([quote, padding]) })
            t.deepEqual((await ask(reportData)).report, quote)
        })

for (const { name, answer, code } of [
    { name: 'another nonce', answer: () => quoteOf(Buffer.alloc(64, 9)), code: 'ERR_TDX_WRONG_QUOTE' },
    { name: 'a cut quote', answer: (nonce) => quoteOf(nonce).subarray(0, 2000), code: 'ERR_TDX_QUOTE' },
    { name: 'what is no quote', answer: () => Buffer.alloc(5000), code: 'ERR_TDX_QUOTE' },
    { name: "an SNP report's bytes", answer: () => Buffer.alloc(1184, 2), code: 'ERR_TDX_QUOTE' },
] as { name: string; answer: NonNullable<Kernel['answer']>; code: string }[])
    test(`what came back is refused: ${name}`, async (t) => {
        for (const kernel of [
            { provider: 'tdx_guest' },
            { device: 'quotes' },
            { device: 'reports', port: 1 },
        ] as const) {
            const guest = await tdxDriver.open(doors({ ...kernel, answer }))
            await t.throwsAsync(guest?.evidence?.(Buffer.alloc(64, 1)) ?? Promise.resolve(), { code })
        }
    })

test('a provider that changes between the probe and the request is refused', async (t) => {
    const ask = await open({
        answer: () => {
            throw driverError('ERR_TSM_PROVIDER', 'expected provider tdx_guest, got "sev_guest"')
        },
    })
    await t.throwsAsync(ask(Buffer.alloc(64)), { code: 'ERR_TSM_PROVIDER' })
})

test('configfs: its provider, its lock, and what an errno means here', async (t) => {
    const asked: TsmRequest[] = []
    await (await open({ asked }))(Buffer.alloc(64))
    t.is(asked.length, 1)
    t.like(asked[0], { provider: 'tdx_guest', lock: 'tdx-guest', codes: { ETIMEDOUT: 'ERR_DEVICE_TIMEOUT' } })
    t.false('privlevel' in (asked[0] ?? {}))
    for (const errno of ['EIO', 'ETIMEDOUT', 'EBUSY']) t.regex(asked[0]?.hints?.[errno] ?? '', /quoting service/)
    for (const hint of Object.values(asked[0]?.hints ?? {})) t.notRegex(hint, /vmpl|sev/i)
})

test('a host that is busy with an earlier quote is asked again; a timeout is not', async (t) => {
    let busy = 1
    const answer = (reportData: Buffer): Buffer => {
        if (busy-- > 0) throw driverError('ERR_DEVICE_BUSY', 'EBUSY')
        return quoteOf(reportData)
    }
    t.truthy((await (await open({ answer }))(Buffer.alloc(64))).report)
    let asked = 0
    const late = await open({
        answer: () => {
            asked++
            throw driverError('ERR_DEVICE_TIMEOUT', 'ETIMEDOUT')
        },
    })
    await t.throwsAsync(late(Buffer.alloc(64)), { code: 'ERR_DEVICE_TIMEOUT' })
    t.is(asked, 1)
})

test('the signal ends the wait for a busy host', async (t) => {
    const ask = await open({
        answer: () => {
            throw driverError('ERR_DEVICE_BUSY', 'EBUSY')
        },
    })
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), 20)
    await t.throwsAsync(ask(Buffer.alloc(64), { signal: controller.signal }), { message: 'enough' })
})

for (const size of [0, 65])
    test(`a binding of ${size} bytes is a mistake of the caller`, async (t) => {
        await t.throwsAsync((await open())(Buffer.alloc(size)), { instanceOf: TypeError })
    })

test('a privilege level is a mistake of the caller', async (t) => {
    await t.throwsAsync((await open())(Buffer.alloc(64), { privilegeLevel: 0 }), { instanceOf: TypeError })
})

const LOG = Buffer.from('events')

for (const { name, kernel, wanted, want } of [
    { name: 'asked for', kernel: { log: LOG }, wanted: true, want: LOG },
    { name: 'not asked for', kernel: { log: LOG }, wanted: false, want: undefined },
    { name: 'not there', kernel: {}, wanted: true, want: undefined },
])
    test(`the event log: ${name}`, async (t) => {
        const evidence = await (await open(kernel))(Buffer.alloc(64), { eventLog: wanted })
        t.deepEqual(evidence.eventLog, want)
    })

test('an event log that cannot be read: an error where it is asked for', async (t) => {
    const ask = await open({
        log: () => {
            throw driverError('ERR_EVENT_LOG', 'malformed')
        },
    })
    await t.throwsAsync(ask(Buffer.alloc(64), { eventLog: true }), { code: 'ERR_EVENT_LOG' })
    await t.notThrowsAsync(ask(Buffer.alloc(64)))
})

for (const { name, kernel, has } of [
    { name: 'both', kernel: { registers: true, log: LOG }, has: { registers: true, eventLog: true } },
    { name: 'neither', kernel: {}, has: { registers: false, eventLog: false } },
])
    test(`what this guest cannot do is absent: ${name}`, async (t) => {
        const guest = await tdxDriver.open(doors({ provider: 'tdx_guest', ...kernel }))
        t.is('registers' in (guest ?? {}), has.registers)
        t.is(guest?.hasEventLog, has.eventLog)
        t.false('deriveKey' in (guest ?? {}))
    })

test('a TDREPORT: its fields are where the module writes them', (t) => {
    const raw = Buffer.alloc(1024)
    raw[0] = REPORT_TYPE_TDX
    raw.fill(0x11, 128, 192)
    raw.fill(0x22, 528, 576)
    raw.fill(0x33, 864, 912)
    raw.fill(0x44, 264, 280)
    const report = TD_REPORT.parse(raw)
    t.is(report.mac.type, REPORT_TYPE_TDX)
    t.deepEqual(report.mac.reportData, Buffer.alloc(64, 0x11))
    t.deepEqual(report.td.mrTd, Buffer.alloc(48, 0x22))
    t.deepEqual(report.td.rtmr3, Buffer.alloc(48, 0x33))
    t.deepEqual(report.tcb.teeTcbSvn, Buffer.alloc(16, 0x44))
    t.deepEqual(TD_REPORT.encode(report), raw)
})
