// The device model of a TD without a device: what it answers at each door, as the kernel's drivers and the host would,
// and what stays of it.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createPublicKey, verify } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { encodeQuoteRequest, LENGTH_SIZE, readQuoteResponse } from '#drivers/linux/quoting-messages.ts'
import { QUOTE_HEADER, QUOTE_REQ, QUOTE_STATUS, REPORT_REQ, TDX_FORMS } from '#drivers/linux/tdx-forms.ts'
import { requestNames } from '#emulator/faults.ts'
import type { Answer, AttributeFile, DeviceModel, Fault, TsmAnswer } from '#emulator/model.ts'
import { readCertificates, readCollateral } from '#evidence/collateral.ts'
import { judge } from '#evidence/judge.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { type TdxOptions, tdxEmulator } from '#plugins/tdx/emulate.ts'
import { bootLog } from '#plugins/tdx/emulated/measurements.ts'
import { TD_REPORT } from '#plugins/tdx/emulated/td-report.ts'
import { openVendor } from '#plugins/tdx/emulated/vendor.ts'
import { parseCcel } from '#plugins/tdx/event-log/ccel.ts'
import { parseEventLog, replay } from '#plugins/tdx/event-log/event-log.ts'
import { STATUS_SVNS } from '#plugins/tdx/mint/statements.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { cuseKernel } from '#test/emulator/cuse-kernel.ts'
import { temporaryFolder } from '#test/folder.ts'

const work = temporaryFolder({ teardown: test.after.always })
const trustDir = join(work, 'vendor')
const now = new Date()
const quiet = { now, progress: () => undefined }

test.before(async () => {
    await openVendor({ folder: trustDir, ...quiet })
})

const emulator = (options: TdxOptions = {}) => tdxEmulator.model({ trustDir, ...options }, quiet)

test('its details name every device and every request', async (t) => {
    const model = await emulator()
    for (const word of [...Object.keys(model.devices).map((name) => `/dev/${name}`), ...requestNames(model)])
        t.regex(tdxEmulator.details, new RegExp(`\\W?${word}\\b`))
    for (const path of Object.keys(model.files ?? {}))
        t.regex(path, /^\/sys\/(?:devices\/virtual\/misc\/tdx_guest\/measurements|firmware\/acpi\/tables)\//)
})

// The caller's memory: the argument at 0x1000, the buffer of a quote at 0x2000.
const AT = { argument: 0x1000n, buffer: 0x2000n } as const
const GET_REPORT0 = 0xc4405401
const NONCE = Buffer.alloc(64, 0x11)

function ioctl(model: DeviceModel, request: number, memory: Buffer, faults: readonly Fault[] = [], nowMs = 0) {
    const part = (address: bigint, length: number) => memory.subarray(Number(address), Number(address) + length)
    const writes: [bigint, Uint8Array][] = []
    const answer: Answer = model.devices['tdx_guest']?.ioctl(
        { request, argument: AT.argument, faults, nowMs },
        {
            read: (address, length) => Buffer.from(part(address, length)),
            write: (address, bytes) => void writes.push([address, bytes]),
        },
    ) ?? { errno: 'ENODEV' }
    answer.commit?.()
    for (const [address, bytes] of writes) part(address, bytes.length).set(bytes)
    return answer
}

function getReport(model: DeviceModel, faults: readonly Fault[] = []): Buffer {
    const memory = Buffer.alloc(0x2000)
    memory.set(NONCE, Number(AT.argument))
    ioctl(model, GET_REPORT0, memory, faults)
    return REPORT_REQ.parse(memory.subarray(0x1000, 0x1000 + REPORT_REQ.size)).tdReport
}

interface Quoted {
    readonly errno: string | undefined
    readonly delayMs: number
    readonly status: bigint
    readonly output: Buffer
}

/** GetQuote through the device. */
function getQuote(
    model: DeviceModel,
    request: number,
    payload: Buffer,
    {
        faults = [],
        nowMs = 0,
        header = {},
        length = 0x4000,
    }: {
        faults?: readonly Fault[]
        nowMs?: number
        header?: object
        length?: number
    } = {},
): Quoted {
    const memory = Buffer.alloc(0x2000 + 0x4000)
    memory.set(QUOTE_REQ.encode({ buffer: AT.buffer, length: BigInt(length) }), Number(AT.argument))
    const head = { version: 1n, status: 0n, inLength: payload.length, outLength: 0, ...header }
    memory.set(QUOTE_HEADER.encode(head), Number(AT.buffer))
    memory.set(payload, Number(AT.buffer) + QUOTE_HEADER.size)
    const { errno, delayMs = 0 } = ioctl(model, request, memory, faults, nowMs)
    const start = Number(AT.buffer) + QUOTE_HEADER.size
    const { status, outLength } = QUOTE_HEADER.parse(memory.subarray(Number(AT.buffer), start))
    return { errno, delayMs, status, output: memory.subarray(start, start + outLength) }
}

function configfs(model: DeviceModel, faults: readonly Fault[] = [], nowMs = 0, inblob = NONCE): TsmAnswer {
    const answer = model.tsm?.report({ inblob, privlevel: 0, faults, nowMs })
    answer?.commit?.()
    return answer ?? { outblob: Buffer.alloc(0), auxblob: Buffer.alloc(0) }
}

const MEASUREMENTS = '/sys/devices/virtual/misc/tdx_guest/measurements'

function file(model: DeviceModel, path: string): AttributeFile {
    const found = model.files?.[path]
    if (!found) throw new Error(`no file ${path}`)
    return found
}

const read = (model: DeviceModel, path: string): Buffer =>
    file(model, path).read?.({ faults: [], nowMs: 0 }).bytes ?? Buffer.alloc(0)

function extend(model: DeviceModel, name: string, bytes: Buffer, offset = 0): string | undefined {
    const answer = file(model, `${MEASUREMENTS}/${name}`).write?.({ offset, bytes, faults: [], nowMs: 0 })
    answer?.commit?.()
    return answer?.errno
}

const sha384 = (...parts: Buffer[]): Buffer => createHash('sha384').update(Buffer.concat(parts)).digest()

for (const { name, options, want } of [
    { name: 'unless told', options: {}, want: { version: 4, bodyType: 2 } },
    { name: 'version 5', options: { quoteVersion: 5 }, want: { version: 5, bodyType: 3 } },
    { name: 'version 5, TDX 1.0', options: { quoteVersion: 5, bodyType: 2 }, want: { version: 5, bodyType: 2 } },
    { name: 'extended', options: { bodyType: 4 }, want: { version: 5, bodyType: 4 } },
] satisfies { name: string; options: TdxOptions; want: object }[])
    test(`quotes of every door say the same: ${name}`, async (t) => {
        const model = await emulator({
            ...options,
            measurement: Buffer.alloc(48, 0x22),
            mrConfigId: Buffer.alloc(48, 0x33),
            attributes: 0x40000001n,
            xfam: 0x600e7n,
        })
        const report = getReport(model)
        const bodies = [
            configfs(model).outblob,
            ...quoteRequests.map(({ request, payload }) => {
                const message = payload === 'message'
                const { status, output } = getQuote(model, request, message ? encodeQuoteRequest(report) : report)
                t.is(status, QUOTE_STATUS.done)
                return message ? readQuoteResponse(output.subarray(LENGTH_SIZE)) : output
            }),
        ].map((raw) => {
            const quote = parseQuote(raw)
            t.like(quote, want)
            t.is(quote.size, raw.length)
            return quote.body
        })
        for (const body of bodies) t.deepEqual(body, bodies[0])
        t.like(bodies[0], {
            mrTd: Buffer.alloc(48, 0x22),
            mrConfigId: Buffer.alloc(48, 0x33),
            tdAttributes: 0x40000001n,
            xfam: 0x600e7n,
            reportData: NONCE,
        })
    })

const quoteRequests = TDX_FORMS.filter(({ device }) => device === '/dev/tdx_guest').flatMap(({ quote }) =>
    quote ? [quote] : [],
)

test('a TDREPORT carries hashes of what it says; one that was changed gets no quote', async (t) => {
    const model = await emulator()
    const report = getReport(model)
    const { mac } = TD_REPORT.parse(report)
    t.deepEqual(mac.reportData, NONCE)
    t.deepEqual(mac.teeTcbInfoHash, sha384(report.subarray(256, 495)))
    t.deepEqual(mac.teeInfoHash, sha384(report.subarray(512)))
    for (const at of [128, 300, 600, 1000]) {
        const changed = Buffer.from(report)
        changed[at] = (changed[at] ?? 0) ^ 1
        t.is(getQuote(model, 0xc0105402, changed).status, QUOTE_STATUS.error, `byte ${at}`)
    }
    const other = await tdxEmulator.model({}, quiet)
    t.is(getQuote(other, 0xc0105402, report).status, QUOTE_STATUS.error, 'a report of another platform')
})

test('as a character device (CUSE), too: a report, and a quote of it', async (t) => {
    const device = (await emulator()).devices['tdx_guest']
    if (!device) return t.fail()
    const memory = Buffer.alloc(0x6000)
    memory.set(NONCE, Number(AT.argument))
    const { ioctl: call, complaints } = cuseKernel(device, memory)
    t.is((await call(GET_REPORT0, AT.argument)).result, 0)
    const report = REPORT_REQ.parse(memory.subarray(0x1000, 0x1000 + REPORT_REQ.size)).tdReport
    const start = Number(AT.buffer) + QUOTE_HEADER.size
    for (const [request, payload] of [
        [0x80105404, encodeQuoteRequest(report)],
        [0xc0105402, report],
    ] as const) {
        memory.set(QUOTE_REQ.encode({ buffer: AT.buffer, length: 0x4000n }), Number(AT.argument))
        memory.set(
            QUOTE_HEADER.encode({ version: 1n, status: 0n, inLength: payload.length, outLength: 0 }),
            Number(AT.buffer),
        )
        memory.set(payload, start)
        t.is((await call(request, AT.argument)).result, 0)
        const { status, outLength } = QUOTE_HEADER.parse(memory.subarray(Number(AT.buffer), start))
        t.is(status, QUOTE_STATUS.done)
        const output = memory.subarray(start, start + outLength)
        const quote = payload === report ? output : readQuoteResponse(output.subarray(LENGTH_SIZE))
        t.deepEqual(parseQuote(quote).body.reportData, NONCE)
    }
    t.deepEqual(complaints, [])
})

for (const { name, request = 0xc0105402, payload, changed = {}, want } of [
    { name: 'an unknown request', request: 0xc0105409, want: { errno: 'ENOTTY' } },
    { name: 'a buffer without a header', changed: { length: 23 }, want: { errno: 'EINVAL' } },
    { name: 'a buffer that is too large', changed: { length: 0x20001 }, want: { errno: 'EINVAL' } },
    { name: 'another version', changed: { header: { version: 2n } }, want: { errno: 'EINVAL' } },
    { name: 'more than the buffer', changed: { header: { inLength: 0x4000 } }, want: { errno: 'EINVAL' } },
    { name: 'no report', payload: Buffer.alloc(0), want: { status: QUOTE_STATUS.error } },
    { name: 'a message of no length', payload: Buffer.alloc(1056), want: { status: QUOTE_STATUS.error } },
    { name: 'half a message', payload: Buffer.from('00000010', 'hex'), want: { status: QUOTE_STATUS.error } },
    { name: 'a buffer that is too small', changed: { length: 2000 }, want: { status: QUOTE_STATUS.error } },
])
    test(`a request for a quote is refused: ${name}`, async (t) => {
        const model = await emulator()
        t.like(getQuote(model, request, payload ?? getReport(model), changed), want)
    })

test('configfs wants 64 bytes, and calls itself what it is told', async (t) => {
    const model = await emulator()
    t.like(model.tsm, { name: 'tdx_guest', hasAuxblob: false, privlevelFloor: undefined })
    t.is(configfs(model, [], 0, Buffer.alloc(63)).errno, 'EINVAL')
    t.is((await emulator({ provider: 'other_guest' })).tsm?.name, 'other_guest')
})

// Registers and the event log.

test('registers: what the log replays to; an extension is in later quotes and reports, and in no earlier one', async (t) => {
    const model = await emulator()
    const atBoot = replay(parseEventLog(bootLog()))
    const before = configfs(model).outblob
    t.deepEqual(parseQuote(before).body.rtmrs, [atBoot.rtmr0, atBoot.rtmr1, atBoot.rtmr2, atBoot.rtmr3])
    for (const name of ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const)
        t.deepEqual(read(model, `${MEASUREMENTS}/${name}:sha384`), atBoot[name])

    const digest = Buffer.alloc(48, 0xd1)
    t.is(extend(model, 'rtmr2:sha384', digest), undefined)
    const extended = sha384(atBoot.rtmr2, digest)
    t.deepEqual(read(model, `${MEASUREMENTS}/rtmr2:sha384`), extended)
    t.deepEqual(parseQuote(configfs(model).outblob).body.rtmrs[2], extended)
    t.deepEqual(TD_REPORT.parse(getReport(model)).td.rtmr2, extended)
    t.deepEqual(parseQuote(before).body.rtmrs[2], atBoot.rtmr2)
})

test('registers: exactly 48 bytes from the start; those of the launch cannot be written', async (t) => {
    const model = await emulator()
    for (const [bytes, offset] of [
        [47, 0],
        [49, 0],
        [0, 0],
        [48, 1],
    ] as const)
        t.is(extend(model, 'rtmr3:sha384', Buffer.alloc(bytes), offset), 'EINVAL')
    t.deepEqual(read(model, `${MEASUREMENTS}/rtmr3:sha384`), Buffer.alloc(48))
    const { body } = parseQuote(configfs(model).outblob)
    for (const [name, value] of [
        ['mrtd:sha384', body.mrTd],
        ['mrconfigid', body.mrConfigId],
        ['mrowner', body.mrOwner],
        ['mrownerconfig', body.mrOwnerConfig],
    ] as const) {
        const attribute = file(model, `${MEASUREMENTS}/${name}`)
        t.deepEqual(read(model, `${MEASUREMENTS}/${name}`), value)
        t.is(attribute.mode, 0o444)
        t.is(attribute.write, undefined)
    }
})

test('the table says where a log is that replays to the registers', async (t) => {
    const model = await emulator()
    const table = read(model, '/sys/firmware/acpi/tables/CCEL')
    const area = read(model, '/sys/firmware/acpi/tables/data/CCEL')
    t.is(table.length, 56)
    t.is(table.toString('latin1', 0, 4), 'CCEL')
    t.is(table.reduce((sum, byte) => sum + byte, 0) & 0xff, 0, 'checksum')
    t.is(table[36], 2)
    t.is(Number(table.readBigUInt64LE(40)), area.length)
    const { rtmr0, rtmr1, rtmr2, rtmr3 } = replay(parseEventLog(area))
    t.deepEqual(parseQuote(configfs(model).outblob).body.rtmrs, [rtmr0, rtmr1, rtmr2, rtmr3])
    const { events } = parseCcel(area)
    t.true(events.length > 0 && events.every(({ proven }) => proven))
})

test('a log of its own: the registers are those of that log', async (t) => {
    const path = join(work, 'log.bin')
    const [first] = parseCcel(bootLog()).events
    writeFileSync(path, bootLog().subarray(0, 65 + 66 + (first?.data.length ?? 0)))
    const model = await emulator({ eventLog: path })
    t.deepEqual(read(model, `${MEASUREMENTS}/rtmr0:sha384`), sha384(Buffer.alloc(48), first?.digest ?? Buffer.alloc(0)))
    t.deepEqual(read(model, `${MEASUREMENTS}/rtmr1:sha384`), Buffer.alloc(48))
    writeFileSync(path, 'no log')
    await t.throwsAsync(emulator({ eventLog: path }), { code: 'ERR_TDX_EVENT_LOG' })
})

// Faults: at the device, and at configfs.

const { done, inFlight, error, unavailable } = QUOTE_STATUS
for (const { kind, params = {}, device, tsm } of [
    { kind: 'busy', device: { errno: 'EBUSY' }, tsm: { errno: 'EBUSY' } },
    { kind: 'in-flight', device: { errno: undefined, status: inFlight }, tsm: { errno: 'EBUSY' } },
    {
        kind: 'timeout',
        params: { ms: 30_000, busyMs: 1000 },
        device: { errno: 'ETIMEDOUT', delayMs: 30_000 },
        tsm: { errno: 'ETIMEDOUT', delayMs: 30_000 },
    },
    { kind: 'quote-error', device: { errno: undefined, status: error }, tsm: { errno: 'EIO' } },
    { kind: 'unavailable', device: { errno: undefined, status: unavailable }, tsm: { errno: 'EIO' } },
    {
        kind: 'empty-quote',
        device: { errno: undefined, status: done, output: Buffer.alloc(0) },
        tsm: { errno: undefined, outblob: Buffer.alloc(0) },
    },
    { kind: 'service-error', params: { code: 0x12001 }, device: { status: done }, tsm: { errno: 'EIO' } },
] as { kind: string; params?: object; device: object; tsm: object }[])
    test(`fault ${kind}`, async (t) => {
        const fault = [{ kind, params: { ...params } }]
        const model = await emulator()
        t.like(getQuote(model, 0xc0105404, encodeQuoteRequest(getReport(model)), { faults: fault }), device)
        t.like(configfs(await emulator(), fault), tsm)
    })

test('the quoting service refuses in its message', async (t) => {
    const model = await emulator()
    const faults = [{ kind: 'service-error', params: { code: 0x12002 } }]
    const { output } = getQuote(model, 0xc0105404, encodeQuoteRequest(getReport(model)), { faults })
    t.throws(() => readQuoteResponse(output.subarray(LENGTH_SIZE)), {
        code: 'ERR_QUOTE_FAILED',
        message: /out of memory/,
    })
})

test('after a timeout the host keeps the buffer for its time', async (t) => {
    const model = await emulator()
    const late = [{ kind: 'timeout', params: { ms: 100, busyMs: 50 } }]
    t.is(configfs(model, late, 1000).errno, 'ETIMEDOUT')
    t.is(configfs(model, [], 1149).errno, 'EBUSY')
    t.is(getQuote(model, 0xc0105402, getReport(model), { nowMs: 1149 }).errno, 'EBUSY')
    t.is(configfs(model, [], 1150).errno, undefined)
})

test('padding: noise behind a quote that is whole', async (t) => {
    const model = await emulator()
    const faults = [{ kind: 'padded', params: { size: 8000 } }]
    const { outblob } = configfs(model, faults)
    t.is(outblob.length, 8000)
    const { size } = parseQuote(outblob)
    t.true(size < 8000 && outblob.subarray(size).some((byte) => byte !== 0))
})

test('a register is extended while the report is made: the quote has what was not there before', async (t) => {
    const model = await emulator()
    const path = `${MEASUREMENTS}/rtmr3:sha384`
    const before = read(model, path)
    const { body } = parseQuote(configfs(model, [{ kind: 'register-race', params: {} }]).outblob)
    t.notDeepEqual(body.rtmrs[3], before)
    t.deepEqual(read(model, path), body.rtmrs[3])
    t.notDeepEqual(TD_REPORT.parse(getReport(model, [{ kind: 'register-race', params: {} }])).td.rtmr3, body.rtmrs[3])
})

test('another nonce is signed well; a bad signature is bad', async (t) => {
    const model = await emulator()
    const signatureHolds = (raw: Buffer): boolean => {
        const { attestationKey, signature, signedSize } = parseQuote(raw)
        const point = { x: attestationKey.subarray(0, 32), y: attestationKey.subarray(32) }
        const jwk = { kty: 'EC', crv: 'P-256', x: point.x.toString('base64url'), y: point.y.toString('base64url') }
        const key = createPublicKey({ key: jwk, format: 'jwk' })
        return verify('sha256', raw.subarray(0, signedSize), { key, dsaEncoding: 'ieee-p1363' }, signature)
    }
    const other = configfs(model, [{ kind: 'wrong-nonce', params: {} }]).outblob
    t.notDeepEqual(parseQuote(other).body.reportData, NONCE)
    t.true(signatureHolds(other))
    const bad = configfs(model, [{ kind: 'bad-signature', params: {} }]).outblob
    t.deepEqual(parseQuote(bad).body.reportData, NONCE)
    t.false(signatureHolds(bad))
    t.true(signatureHolds(configfs(model).outblob))
})

// Options.

for (const { name, options, want } of [
    {
        name: 'a short measurement',
        options: { measurement: Buffer.alloc(32) },
        want: /--measurement: expected 48 bytes, got 32/,
    },
    {
        name: 'a long MRCONFIGID',
        options: { mrConfigId: Buffer.alloc(49) },
        want: /--mr-config-id: expected 48 bytes, got 49/,
    },
    { name: 'an XFAM that no module launches', options: { xfam: 0x4n }, want: /--xfam 0x4: bits 0 and 1/ },
    { name: 'a version that is none', options: { quoteVersion: 3 }, want: /--quote-version: expected 4 or 5, got 3/ },
    { name: 'a body that is none', options: { bodyType: 1 }, want: /--body-type: expected 2, 3 or 4, got 1/ },
    { name: 'a body that version 4 has not', options: { quoteVersion: 4, bodyType: 3 }, want: /no other than 2/ },
    { name: 'a status that is none', options: { tcbStatus: 'Fine' }, want: /expected one of UpToDate, .*, got "Fine"/ },
    { name: 'a property of every object', options: { tcbStatus: 'toString' }, want: /got "toString"/ },
    {
        name: 'a relaunch that a quote cannot tell of',
        options: { tcbStatus: 'TDRelaunchAdvised' },
        want: /body type 2 does not say/,
    },
] satisfies { name: string; options: TdxOptions; want: RegExp }[])
    test(`refused: ${name}`, async (t) =>
        void (await t.throwsAsync(emulator(options), { code: 'ERR_USAGE', message: want })))

// A verifier that trusts the folder, as `verify --trust-root DIR/root.pem --collateral DIR/collateral` does.

function verdict(report: Buffer, eventLog?: Buffer) {
    const { root, collateral } = tdxEmulator.trustFolder
    const verifier = tdxVerifier({
        ...STRICT_TRUST,
        ...readCollateral(join(trustDir, collateral)),
        roots: [readCertificates(join(trustDir, root))],
    })
    const evidence = { tee: 'tdx', report, ...(eventLog && { eventLog }) } as const
    return judge(verifier, evidence, { reportData: NONCE }, now)
}

for (const tcbStatus of [...Object.keys(STATUS_SVNS), 'TDRelaunchAdvised', 'TDRelaunchAdvisedConfigurationNeeded'])
    test(`a verifier finds the status ${tcbStatus}`, async (t) => {
        const { outblob } = configfs(await emulator({ tcbStatus, bodyType: 3 }))
        const { verdict: got, code, claims } = verdict(outblob)
        const accepted = tcbStatus === 'UpToDate'
        t.is(got, accepted ? 'accepted' : 'rejected')
        t.is(code, accepted ? undefined : 'ERR_TDX_STATUS')
        t.is(claims?.['tcbStatus'], tcbStatus)
        t.is(claims?.['emulated'], true)
    })

test('a verifier accepts quotes of every form, with the log, and what a register was extended with is not in the log', async (t) => {
    for (const bodyType of [2, 3, 4]) {
        const model = await emulator({ bodyType })
        const log = read(model, '/sys/firmware/acpi/tables/data/CCEL')
        t.is(verdict(configfs(model).outblob, log).verdict, 'accepted', `body type ${bodyType}`)
        extend(model, 'rtmr3:sha384', Buffer.alloc(48, 1))
        t.is(verdict(configfs(model).outblob).verdict, 'accepted')
        t.is(verdict(configfs(model).outblob, log).code, 'ERR_TDX_EVENT_LOG')
    }
})
