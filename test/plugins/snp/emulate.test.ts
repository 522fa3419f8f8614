// The device model of SNP without a device: what it answers at both doors, as the kernel's driver and the firmware
// would, and the vendor behind it, whose reports a verifier that trusts its root takes for authentic.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
    DERIVED_KEY_REQ,
    EXT_REPORT_REQ,
    GUEST_REQUEST,
    REPORT_REQ,
    REPORT_RESP_SIZE,
    SNP_IOCTL,
} from '#drivers/linux/sev-guest.ts'
import { requestNames } from '#emulator/faults.ts'
import type { DeviceModel, Fault, TsmAnswer } from '#emulator/model.ts'
import { judge } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { parseCertTable } from '#plugins/snp/cert-table.ts'
import { type SnpOptions, snpEmulator } from '#plugins/snp/emulate.ts'
import { openVendor } from '#plugins/snp/emulated/vendor.ts'
import { GENERATIONS, type GenerationName } from '#plugins/snp/generations.ts'
import { parseReport } from '#plugins/snp/report.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { temporaryFolder } from '#test/folder.ts'

const work = temporaryFolder({ teardown: test.after.always })
const now = new Date()
const quiet = { now, progress: () => undefined }
const names = Object.keys(GENERATIONS) as GenerationName[]

test.before(async () => {
    await Promise.all(names.map((generation) => openVendor({ folder: join(work, generation), generation, ...quiet })))
})

const emulator = (options: SnpOptions = {}, generation: GenerationName = 'milan') =>
    snpEmulator.model({ trustDir: join(work, generation), ...options }, quiet)

test('its details name every device and every request', async (t) => {
    const model = await emulator()
    for (const word of [...Object.keys(model.devices).map((name) => `/dev/${name}`), ...requestNames(model)])
        t.regex(snpEmulator.details, new RegExp(`\\W?${word}\\b`))
})

// The caller's memory: the argument at 0x1000, the request at 0x2000, the response at 0x3000, certificates at 0x10000.
const AT = { argument: 0x1000n, request: 0x2000n, response: 0x3000n, certificates: 0x10000n } as const

interface Called {
    readonly errno: string | undefined
    readonly fwError: number
    readonly vmmError: number
    readonly status: number
    readonly delayMs: number
    readonly response: Buffer
    readonly request: Buffer
    readonly certificates: Buffer
}

/** What the caller leaves in the words that the driver may overwrite. */
const UNTOUCHED = 0x55555555

function call(
    model: DeviceModel,
    request: number,
    payload: Buffer,
    { faults = [], nowMs = 0, argument = {} }: { faults?: Fault[]; nowMs?: number; argument?: object } = {},
): Called {
    const ram = Buffer.alloc(0x20000)
    GUEST_REQUEST.encode({
        msgVersion: 1,
        reqData: AT.request,
        respData: AT.response,
        fwError: UNTOUCHED,
        vmmError: UNTOUCHED,
        ...argument,
    }).copy(ram, Number(AT.argument))
    payload.copy(ram, Number(AT.request))
    const part = (address: bigint, length: number) => ram.subarray(Number(address), Number(address) + length)
    const writes: [bigint, Uint8Array][] = []
    const answer = model.devices['sev-guest']?.ioctl(
        { request, argument: AT.argument, faults, nowMs },
        {
            read: (address, length) => Buffer.from(part(address, length)),
            write: (address, bytes) => void writes.push([address, bytes]),
        },
    )
    answer?.commit?.()
    for (const [address, bytes] of writes) part(address, bytes.length).set(bytes)
    const { fwError, vmmError } = GUEST_REQUEST.parse(part(AT.argument, 32))
    return {
        errno: answer?.errno,
        fwError,
        vmmError,
        status: part(AT.response, 4).readUInt32LE(),
        delayMs: answer?.delayMs ?? 0,
        response: part(AT.response, REPORT_RESP_SIZE),
        request: part(AT.request, payload.length),
        certificates: part(AT.certificates, 0x8000),
    }
}

const reportRequest = (vmpl = 0, fill = 0x11) => REPORT_REQ.encode({ userData: Buffer.alloc(64, fill), vmpl })

const extRequest = (certsLen: number, certsAddress: bigint = AT.certificates) =>
    EXT_REPORT_REQ.encode({ userData: Buffer.alloc(64, 0x11), vmpl: 0, certsAddress, certsLen })

const keyRequest = (changed: object = {}) =>
    DERIVED_KEY_REQ.encode({
        rootKeySelect: 0,
        guestFieldSelect: 0n,
        vmpl: 0,
        guestSvn: 0,
        tcbVersion: 0n,
        ...changed,
    })

const getReport = (model: DeviceModel, options: Parameters<typeof call>[3] = {}) =>
    call(model, SNP_IOCTL.getReport, reportRequest(), options)

const reportOf = ({ response }: Called): Buffer => response.subarray(32, 32 + response.readUInt32LE(4))

function configfs(model: DeviceModel, privlevel = 0, faults: Fault[] = [], size = 64): TsmAnswer {
    const answer = model.tsm?.report({ inblob: Buffer.alloc(size, 0x11), privlevel, faults, nowMs: 0 })
    answer?.commit?.()
    return answer ?? { outblob: Buffer.alloc(0), auxblob: Buffer.alloc(0) }
}

function verdict(generation: GenerationName, report: Buffer, certificates: Buffer) {
    const folder = join(work, generation)
    const named = (name: string) => ({ name, bytes: readFileSync(join(folder, name)) })
    const verifier = snpVerifier({
        ...STRICT_TRUST,
        roots: [named('ark.pem')],
        revocationLists: [named('crl.der')],
    })
    return judge(verifier, { tee: 'snp', report, certificates }, { reportData: Buffer.alloc(64, 0x11) }, now)
}

for (const name of names) {
    const { line, reportVersion } = GENERATIONS[name]
    test(`${name}: reports of both doors are accepted, and marked as emulated`, async (t) => {
        const options = {
            measurement: Buffer.alloc(48, 0x22),
            hostData: Buffer.alloc(32, 0x33),
            policy: 0xb0000n,
            vmpl: 1,
        }
        const model = await emulator(options, name)
        t.true(model.title.includes(line))
        const { outblob, auxblob } = configfs(model, 2)
        const byIoctl = call(
            model,
            SNP_IOCTL.getExtReport,
            EXT_REPORT_REQ.encode({
                userData: Buffer.alloc(64, 0x11),
                vmpl: 2,
                certsAddress: AT.certificates,
                certsLen: 0x4000,
            }),
        )
        t.like(byIoctl, { errno: undefined, fwError: UNTOUCHED, vmmError: UNTOUCHED, status: 0 })
        for (const [report, table] of [
            [outblob, auxblob],
            [reportOf(byIoctl), byIoctl.certificates.subarray(0, 0x4000)],
        ] as const) {
            const { verdict: got, code, claims } = verdict(name, report, table)
            t.is(got, 'accepted', code)
            t.is(claims?.['emulated'], true)
            t.like(parseReport(report), {
                version: reportVersion,
                policy: 0xb0000n,
                vmpl: 2,
                measurement: options.measurement,
                hostData: options.hostData,
            })
        }
        // The kernel cuts the table behind its last entry.
        t.true(auxblob.length % 4096 !== 0)
        t.is(parseCertTable(auxblob).length, 3)
    })
}

for (const { name, options, want } of [
    {
        name: 'a short measurement',
        options: { measurement: Buffer.alloc(32) },
        want: /--measurement: expected 48 bytes, got 32/,
    },
    { name: 'long host data', options: { hostData: Buffer.alloc(33) }, want: /--host-data: expected 32 bytes, got 33/ },
    { name: 'a policy that no firmware launches', options: { policy: 0x10000n }, want: /bit 17/ },
    { name: 'a policy with reserved bits', options: { policy: 0x8000000000020000n }, want: /0x8000000000000000/ },
    { name: 'a level that is none', options: { vmpl: 4 }, want: /0 to 3, got 4/ },
    { name: 'a generation that is none', options: { generation: 'rome' }, want: /milan, genoa, turin, got "rome"/ },
    {
        name: "another generation than the folder's",
        options: { generation: 'genoa' },
        want: /the chip of .* is a milan/,
    },
] satisfies { name: string; options: SnpOptions; want: RegExp }[])
    test(`refused: ${name}`, async (t) =>
        void (await t.throwsAsync(emulator(options), { code: 'ERR_USAGE', message: want })))

// What the driver says before it calls the firmware, and what the firmware refuses.

for (const { name, request, payload, options = {}, want } of [
    {
        name: 'an unknown request',
        request: 0xc0205303,
        payload: reportRequest(),
        want: { errno: 'ENOTTY', fwError: UNTOUCHED },
    },
    {
        name: 'message version 0',
        request: SNP_IOCTL.getReport,
        payload: reportRequest(),
        options: { argument: { msgVersion: 0 } },
        want: { errno: 'EINVAL', fwError: UNTOUCHED },
    },
    {
        name: 'no request',
        request: SNP_IOCTL.getReport,
        payload: reportRequest(),
        options: { argument: { reqData: 0n } },
        want: { errno: 'EINVAL', fwError: 0xff, vmmError: 0 },
    },
    {
        name: 'no response',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest(),
        options: { argument: { respData: 0n } },
        want: { errno: 'EINVAL', fwError: 0xff },
    },
    {
        name: 'a level above the guest',
        request: SNP_IOCTL.getReport,
        payload: reportRequest(0),
        want: { errno: undefined, status: 0x16, fwError: UNTOUCHED },
    },
    {
        name: 'a level that is none',
        request: SNP_IOCTL.getReport,
        payload: reportRequest(4),
        want: { errno: undefined, status: 0x16 },
    },
    {
        name: 'reserved bytes',
        request: SNP_IOCTL.getReport,
        payload: Buffer.concat([reportRequest(1).subarray(0, 95), Buffer.of(1)]),
        want: { status: 0x16 },
    },
    {
        name: 'a buffer that is no page',
        request: SNP_IOCTL.getExtReport,
        payload: extRequest(4095),
        want: { errno: 'EINVAL', fwError: 0xff },
    },
    {
        name: 'a buffer that is too large',
        request: SNP_IOCTL.getExtReport,
        payload: extRequest(0x5000),
        want: { errno: 'EINVAL', fwError: 0xff },
    },
    {
        name: 'a key for a level above the guest',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest(),
        want: { status: 0x16 },
    },
    {
        name: 'a key with unknown fields',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest({ vmpl: 1, guestFieldSelect: 64n }),
        want: { status: 0x16 },
    },
    {
        name: 'a key for a newer TCB',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest({ vmpl: 1, tcbVersion: 5n }),
        want: { status: 0x16 },
    },
    {
        name: 'a key for a newer guest',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest({ vmpl: 1, guestSvn: 1 }),
        want: { status: 0x16 },
    },
    {
        name: 'a key of a root that is none',
        request: SNP_IOCTL.getDerivedKey,
        payload: keyRequest({ vmpl: 1, rootKeySelect: 2 }),
        want: { status: 0x16 },
    },
])
    test(`answered as the kernel does: ${name}`, async (t) => {
        const model = await emulator({ vmpl: 1 })
        t.like(call(model, request, payload, options), want)
        t.is(call(model, SNP_IOCTL.getReport, reportRequest(1)).errno, undefined, 'the message key is lost')
    })

test('certificates: no buffer, a short one, the size that is named', async (t) => {
    const model = await emulator()
    for (const request of [extRequest(0, 0n), extRequest(4096), extRequest(4096, 0n)]) {
        const short = call(model, SNP_IOCTL.getExtReport, request)
        t.like(short, { errno: 'EIO', fwError: 0, vmmError: 1 })
        t.is(EXT_REPORT_REQ.parse(short.request).certsLen, 8192)
    }
    const full = call(model, SNP_IOCTL.getExtReport, extRequest(8192))
    t.is(full.errno, undefined)
    t.is(parseCertTable(full.certificates.subarray(0, 8192)).length, 3)
})

test('levels: the floor of configfs is where the guest runs', async (t) => {
    const model = await emulator({ vmpl: 2 })
    t.is(model.tsm?.privlevelFloor, 2)
    t.is(configfs(model, 1).errno, 'EINVAL')
    t.is(configfs(model, 2).errno, undefined)
    t.is(configfs(model, 2, [], 63).errno, 'EINVAL')
})

test('two launches on one chip: another REPORT_ID, the same CHIP_ID', async (t) => {
    const [a, b] = await Promise.all([emulator(), emulator()])
    const [one, two, again] = [
        parseReport(reportOf(getReport(a))),
        parseReport(reportOf(getReport(b))),
        parseReport(reportOf(getReport(a))),
    ]
    t.deepEqual(one.reportId, again.reportId)
    t.notDeepEqual(one.reportId, two.reportId)
    t.deepEqual(one.chipId, two.chipId)
    t.deepEqual(one.reportIdMa, Buffer.alloc(32, 0xff))
})

test('derived keys: the same for the same guest on the same chip, and for no other', async (t) => {
    const key = async (request: object, options: SnpOptions = {}, generation: GenerationName = 'milan') => {
        const called = call(await emulator(options, generation), SNP_IOCTL.getDerivedKey, keyRequest(request))
        t.is(called.status, 0)
        return called.response.toString('hex', 32, 64)
    }
    const selected = { guestFieldSelect: 8n }
    const mine = await key(selected)
    t.is(await key(selected), mine)
    t.is(await key({ guestFieldSelect: 0n }, { measurement: Buffer.alloc(48, 1) }), await key({ guestFieldSelect: 0n }))
    const others = [
        await key({ guestFieldSelect: 0n }),
        await key({ guestFieldSelect: 9n }),
        await key({ ...selected, vmpl: 1 }),
        await key(selected, { measurement: Buffer.alloc(48, 1) }),
        await key({ guestFieldSelect: 32n, tcbVersion: 1n }),
        await key({ guestFieldSelect: 32n, tcbVersion: 2n }),
        await key({ ...selected, rootKeySelect: 1 }),
        await key({ ...selected, rootKeySelect: 1 }), // of another launch
        await key(selected, {}, 'turin'),
    ]
    t.is(new Set([mine, ...others]).size, others.length + 1)
})

// Faults: at the ioctl, at configfs, and whether the message key is lost.

for (const { kind, params = {}, ioctl, tsm, lost = false } of [
    {
        kind: 'busy',
        params: { ms: 2000 },
        ioctl: { errno: undefined, delayMs: 2000 },
        tsm: { errno: undefined, delayMs: 2000 },
    },
    {
        kind: 'timeout',
        params: { ms: 60_000 },
        ioctl: { errno: 'ETIMEDOUT', vmmError: 2, delayMs: 60_000 },
        tsm: { errno: 'ETIMEDOUT' },
        lost: true,
    },
    {
        kind: 'firmware-status',
        params: { status: 0x16 },
        ioctl: { errno: undefined, status: 0x16 },
        tsm: { errno: 'EINVAL' },
    },
    {
        kind: 'firmware-status',
        params: { status: 0x27 },
        ioctl: { errno: undefined, status: 0x27 },
        tsm: { errno: 'EINVAL' },
    },
    {
        kind: 'firmware-status',
        params: { status: 0x17 },
        ioctl: { errno: undefined, status: 0x17 },
        tsm: { errno: 'ENXIO' },
    },
    {
        kind: 'firmware-error',
        params: { status: 0x1d },
        ioctl: { errno: 'EIO', fwError: 0x1d, vmmError: 0 },
        tsm: { errno: 'EIO' },
        lost: true,
    },
    {
        kind: 'vmm-status',
        params: { status: 0xffffffff },
        ioctl: { errno: 'EIO', fwError: 0, vmmError: 0xffffffff },
        tsm: { errno: 'EIO' },
        lost: true,
    },
    { kind: 'short-buffer', params: { size: 0x5000 }, ioctl: { errno: undefined }, tsm: { errno: 'EIO' } },
] as { kind: string; params?: object; ioctl: object; tsm: object; lost?: boolean }[])
    test(`fault: ${kind} ${JSON.stringify(params)}`, async (t) => {
        const faults = [{ kind, params: params as Fault['params'] }]
        const model = await emulator()
        t.like(getReport(model, { faults }), ioctl)
        t.is(getReport(model).errno, lost ? 'ENOTTY' : undefined)
        const other = await emulator()
        t.like(configfs(other, 0, faults), tsm)
        t.is(configfs(other).errno, lost ? 'ENOTTY' : undefined)
        t.is(getReport(other).errno, lost ? 'ENOTTY' : undefined)
    })

test('fault: short-buffer, at the extended report', async (t) => {
    const model = await emulator()
    const faults = [{ kind: 'short-buffer', params: { size: 0x5000 } }]
    const short = call(model, SNP_IOCTL.getExtReport, extRequest(0x4000), { faults })
    t.like(short, { errno: 'EIO', vmmError: 1 })
    t.is(EXT_REPORT_REQ.parse(short.request).certsLen, 0x5000)
    t.is(call(model, SNP_IOCTL.getExtReport, extRequest(0x4000)).errno, undefined)
})

test('fault: no-certificates', async (t) => {
    const model = await emulator()
    const faults = [{ kind: 'no-certificates', params: {} }]
    t.is(configfs(model, 0, faults).auxblob.length, 0)
    const called = call(model, SNP_IOCTL.getExtReport, extRequest(0x4000), { faults })
    t.is(called.errno, undefined)
    t.true(called.certificates.every((byte) => byte === 0))
})

test('fault: wrong-nonce is well signed, bad-signature is not', async (t) => {
    const model = await emulator()
    const { auxblob } = configfs(model)
    const wrong = configfs(model, 0, [{ kind: 'wrong-nonce', params: {} }]).outblob
    t.is(verdict('milan', wrong, auxblob).checks.find(({ name }) => name === 'signature')?.result, 'pass')
    t.is(parseReport(wrong).reportData[0], 0x10)
    const bad = configfs(model, 0, [{ kind: 'bad-signature', params: {} }]).outblob
    t.is(verdict('milan', bad, auxblob).code, 'ERR_SNP_SIGNATURE')
})

test('fault: a burst costs the message key, requests that keep their distance do not', async (t) => {
    const faults = [{ kind: 'key-lost-on-burst', params: { more: 2, withinMs: 1000 } }]
    const model = await emulator()
    for (const nowMs of [0, 600, 1200, 1800, 2400])
        t.is(getReport(model, { faults, nowMs }).errno, undefined, `${nowMs}`)
    t.like(getReport(model, { faults, nowMs: 2500 }), { errno: 'ETIMEDOUT', vmmError: 2 })
    t.like(getReport(model, { faults, nowMs: 9000 }), { errno: 'ENOTTY', fwError: 0xff })
})

test('a run that is not the last changes nothing', async (t) => {
    const model = await emulator()
    const faults = [{ kind: 'vmm-status', params: { status: 5 } }]
    const answer = model.tsm?.report({ inblob: Buffer.alloc(64), privlevel: 0, faults, nowMs: 0 })
    t.is(answer?.errno, 'EIO')
    t.is(getReport(model).errno, undefined)
    answer?.commit?.()
    t.is(getReport(model).errno, 'ENOTTY')
})
