// /dev/tdx_guest: each form that there was, and what each errno and status becomes, with a C library in memory. The ioctl
// itself is tried against the emulator.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import type { DeviceLock } from '#drivers/linux/device-lock.ts'
import type { CallResult, Ioctls } from '#drivers/linux/libc.ts'
import { MESSAGE_HEADER, MESSAGE_TYPES, withLength } from '#drivers/linux/quoting-messages.ts'
import { TDX_DEVICES, tdxDevice } from '#drivers/linux/tdx-device.ts'
import {
    QUOTE_HEADER,
    QUOTE_REQ,
    QUOTE_STATUS,
    REPORT_POINTERS,
    REPORT_REQ,
    TD_REPORT_SIZE,
    TDX_FORMS,
    type TdxForm,
} from '#drivers/linux/tdx-forms.ts'
import { tdxGuest } from '#drivers/linux/tdx-guest.ts'
import { temporaryFolder } from '#test/folder.ts'

const noLock: DeviceLock = { hold: (_device, request) => request() }
const { errno } = constants

const reportData = Buffer.alloc(64, 0x77)
const tdReport = Buffer.alloc(TD_REPORT_SIZE, 0x42)
const QUOTE = Buffer.from('a quote of an enclave')

interface Answer {
    readonly errno?: number
    readonly status?: bigint
    readonly output?: Buffer
    readonly outLength?: number
}

interface Kernel {
    /** The numbers that it knows, and how it says that it does not know one. */
    readonly knows?: readonly number[]
    readonly unknown?: number
    /** What it answers to requests for a report, and for a quote, one after the other. */
    readonly report?: readonly Answer[]
    readonly quote?: readonly Answer[]
}

/** What a kernel of one form does with the memory of its caller, by the addresses that were handed out. */
function kernel(form: TdxForm, { knows, unknown = errno.ENOTTY, report = [], quote = [] }: Kernel) {
    const memory: Buffer[] = []
    const at = (address: bigint): Buffer => memory[Number(address) - 1] ?? Buffer.alloc(0)
    const reports = [...report]
    const quotes = [...quote]
    const asked: { request: number; null: boolean }[] = []
    const submitted: Buffer[] = []
    const known = knows ?? [form.report.request, ...(form.quote ? [form.quote.request] : [])]
    const failed = (code: number): CallResult => ({ result: -1, errno: code })

    function fillReport(argument: Buffer): void {
        if (form.report.shape === 'request') {
            REPORT_REQ.parse(argument).reportData.equals(reportData) && argument.set(tdReport, 64)
        } else if (form.report.shape === 'inPlace') {
            argument.subarray(0, 64).equals(reportData) && argument.set(tdReport)
        } else {
            const given = REPORT_POINTERS.parse(argument)
            at(given.reportData).equals(reportData) && at(given.tdReport).set(tdReport)
        }
    }

    function answerQuote(argument: Buffer, { status = QUOTE_STATUS.done, output = QUOTE, outLength }: Answer): void {
        const { buffer, length } = QUOTE_REQ.parse(argument)
        const area = at(buffer)
        const header = QUOTE_HEADER.parse(area.subarray(0, 24))
        submitted.push(Buffer.from(area.subarray(24, 24 + header.inLength)))
        area.set(output.subarray(0, Number(length) - 24), 24)
        area.set(QUOTE_HEADER.encode({ ...header, status, outLength: outLength ?? output.length }))
    }

    const libc: Ioctls = {
        addressOf: (buffer) => BigInt(memory.push(buffer)),
        async ioctl(_fd, request, argument) {
            asked.push({ request, null: argument === null })
            if (!known.includes(request)) return failed(unknown)
            if (!argument) return failed(errno.EFAULT)
            const isReport = request === form.report.request
            const answer = (isReport ? reports : quotes).shift() ?? {}
            if (answer.errno) return failed(answer.errno)
            if (isReport) fillReport(argument)
            else answerQuote(argument, answer)
            return { result: 0, errno: 0 }
        },
    }
    return { libc: () => libc, asked, submitted }
}

/** A real character device stands in for the door; the ioctl never reaches it. */
function device(form: TdxForm, answers: Kernel, more: readonly TdxForm[] = [], patienceMs = 60_000) {
    const forms = [form, ...more].map((row) => ({ ...row, device: '/dev/null' }))
    const { libc, ...seen } = kernel(form, answers)
    return { door: tdxGuest(libc, noLock, { forms, pollMs: 5, patienceMs }), ...seen }
}

const byName = (name: string): TdxForm => {
    const form = TDX_FORMS.find((row) => row.name === name)
    if (!form) throw new TypeError(name)
    return form
}

test('the forms that there were: type, number and size of each ioctl', (t) => {
    const ioctl = (direction: number, number: number, size: number): number =>
        ((direction << 30) | (size << 16) | (0x54 << 8) | number) >>> 0
    const [WRITE, READ, BOTH] = [1, 2, 3]
    t.not(WRITE, READ)
    const expected: Record<string, [device: string, report: number, quote?: number]> = {
        'DCAP 1.14': ['/dev/tdx-attest', ioctl(BOTH, 1, 8), ioctl(READ, 2, 8)],
        'DCAP 1.16': ['/dev/tdx-guest', ioctl(BOTH, 1, 8), ioctl(READ, 2, 8)],
        'Linux 6.2': ['/dev/tdx_guest', ioctl(BOTH, 1, 1088)],
        'DCAP 1.17': ['/dev/tdx_guest', ioctl(BOTH, 1, 1088), ioctl(READ, 2, 16)],
        'as go-tdx-guest calls it': ['/dev/tdx_guest', ioctl(BOTH, 1, 1088), ioctl(BOTH, 2, 16)],
        'DCAP 1.18': ['/dev/tdx_guest', ioctl(BOTH, 1, 1088), ioctl(READ, 4, 16)],
        'DCAP 1.21, third driver': ['/dev/tdx_guest', ioctl(BOTH, 1, 1088), ioctl(BOTH, 4, 16)],
    }
    t.deepEqual([...new Set(TDX_FORMS.map(({ device }) => device))], [...TDX_DEVICES])
    const rows = TDX_FORMS.map(({ name, device, report, quote }) => [
        name,
        quote ? [device, report.request, quote.request] : [device, report.request],
    ])
    t.deepEqual(Object.fromEntries(rows), expected)
    // Of one device all ask for a report in the same way: the newest form speaks for the others.
    for (const one of TDX_FORMS)
        for (const other of TDX_FORMS) if (one.device === other.device) t.deepEqual(one.report, other.report)
})

for (const form of TDX_FORMS) {
    test(`${form.name}: a report of these 64 bytes`, async (t) => {
        const { door } = device(form, {})
        t.deepEqual(await door.report({ reportData }), tdReport)
    })

    if (form.quote)
        test(`${form.name}: a quote of that report`, async (t) => {
            const { door, submitted } = device(form, {})
            t.true(await door.makesQuotes())
            t.deepEqual(await door.quote({ reportData }), QUOTE)
            const payload = submitted[0] ?? Buffer.alloc(0)
            if (form.quote?.payload === 'report') t.deepEqual(payload, tdReport)
            else {
                t.is(payload.readUInt32BE(0), payload.length - 4)
                const header = MESSAGE_HEADER.parse(payload.subarray(4, 20))
                t.deepEqual(header, { major: 1, minor: 0, type: 0, size: 1048, errorCode: 0 })
                t.is(payload.readUInt32LE(20), TD_REPORT_SIZE)
                t.is(payload.readUInt32LE(24), 0)
                t.deepEqual(payload.subarray(28), tdReport)
            }
        })
}

test('an upstream kernel makes reports alone, and nothing is sent to find that out', async (t) => {
    const upstream = TDX_FORMS.filter(({ device }) => device === '/dev/tdx_guest')
    const { door, asked, submitted } = device(byName('Linux 6.2'), {}, upstream)
    t.false(await door.makesQuotes())
    t.is(asked.length, upstream.length - 1)
    t.true(asked.every((one) => one.null))
    t.is(submitted.length, 0)
    await t.throwsAsync(door.quote({ reportData }), { code: 'ERR_DEVICE_REQUEST', message: /ENOTTY/ })
})

for (const unknown of ['ENOTTY', 'EINVAL'] as const)
    test(`the form that the kernel knows is found behind one of which it says ${unknown}`, async (t) => {
        const known = byName('DCAP 1.18')
        const forms = [byName('DCAP 1.21, third driver'), known].map((row) => ({ ...row, device: '/dev/null' }))
        const { libc, submitted } = kernel(known, { unknown: errno[unknown] })
        const door = tdxGuest(libc, noLock, { forms, pollMs: 5 })
        t.true(await door.makesQuotes())
        t.deepEqual(await door.quote({ reportData }), QUOTE)
        t.is(submitted.length, 1)
    })

const FORM = byName('DCAP 1.18')

/** A message with its length before it. */
function message({ type = 1 as number, size = 0, errorCode = 0, id = Buffer.alloc(0), quote = QUOTE, major = 1 } = {}) {
    const sizes = Buffer.alloc(8)
    sizes.writeUInt32LE(id.length, 0)
    sizes.writeUInt32LE(quote.length, 4)
    const whole = 24 + id.length + quote.length
    const header = MESSAGE_HEADER.encode({ major, minor: 1, type, size: size || whole, errorCode })
    return withLength(Buffer.concat([header, sizes, id, quote]))
}

for (const { name, output, want } of [
    { name: 'the quote itself', output: QUOTE, want: QUOTE },
    { name: 'a message', output: message(), want: QUOTE },
    { name: 'a message with the id of the key', output: message({ id: Buffer.alloc(16, 9) }), want: QUOTE },
    {
        name: 'a message, and what a host left behind it',
        output: Buffer.concat([message(), Buffer.alloc(40, 0xee)]),
        want: QUOTE,
    },
    // Whoever parses the quote refuses it.
    { name: 'what is no message after all', output: message({ major: 2 }), want: message({ major: 2 }) },
])
    test(`the answer is ${name}`, async (t) => {
        const { door } = device(FORM, { quote: [{ output }] })
        t.deepEqual(await door.quote({ reportData }), want)
    })

const IN_FLIGHT = { status: QUOTE_STATUS.inFlight }
const BUSY = { errno: errno.EBUSY }
const many = <T>(answer: T): T[] => Array.from({ length: 1000 }, () => answer)

for (const { name, answers } of [
    { name: 'still in flight', answers: { quote: [IN_FLIGHT, IN_FLIGHT] } },
    { name: 'busy with an earlier quote', answers: { quote: [BUSY] } },
    { name: 'interrupted', answers: { quote: [{ errno: errno.EINTR }] } },
    { name: 'busy with a report', answers: { report: [BUSY, BUSY] } },
] as { name: string; answers: Kernel }[])
    test(`asked again: ${name}`, async (t) => {
        const { door } = device(FORM, answers)
        t.deepEqual(await door.quote({ reportData }), QUOTE)
    })

for (const { name, answers, code, hint } of [
    { name: 'in flight for ever', answers: { quote: many(IN_FLIGHT) }, code: 'ERR_QUOTE_IN_FLIGHT' },
    { name: 'busy for ever', answers: { quote: many(BUSY) }, code: 'ERR_DEVICE_BUSY' },
    { name: 'no report for ever', answers: { report: many(BUSY) }, code: 'ERR_DEVICE_BUSY' },
    { name: 'a failure', answers: { quote: [{ status: QUOTE_STATUS.error }] }, code: 'ERR_QUOTE_FAILED', hint: /host/ },
    {
        name: 'no service',
        answers: { quote: [{ status: QUOTE_STATUS.unavailable }] },
        code: 'ERR_QUOTE_UNAVAILABLE',
        hint: /host/,
    },
    { name: 'an unknown status', answers: { quote: [{ status: 7n }] }, code: 'ERR_QUOTE_FAILED' },
    { name: 'an empty quote', answers: { quote: [{ outLength: 0 }] }, code: 'ERR_QUOTE_EMPTY' },
    { name: 'more than there is room for', answers: { quote: [{ outLength: 16361 }] }, code: 'ERR_DEVICE_RESPONSE' },
    {
        name: 'an error of the service',
        answers: { quote: [{ output: message({ errorCode: 0x12003, quote: Buffer.alloc(0) }) }] },
        code: 'ERR_QUOTE_FAILED',
        hint: /qgsd/,
    },
    {
        name: 'an empty quote in a message',
        answers: { quote: [{ output: message({ quote: Buffer.alloc(0) }) }] },
        code: 'ERR_QUOTE_EMPTY',
    },
    { name: 'a timeout', answers: { quote: [{ errno: errno.ETIMEDOUT }] }, code: 'ERR_DEVICE_TIMEOUT' },
    { name: 'a hypercall that fails', answers: { quote: [{ errno: errno.EIO }] }, code: 'ERR_DEVICE_IO' },
    { name: 'a report that fails', answers: { report: [{ errno: errno.EIO }] }, code: 'ERR_DEVICE_IO' },
    { name: 'a device that has gone', answers: { report: [{ errno: errno.ENXIO }] }, code: 'ERR_DEVICE_GONE' },
    { name: 'another errno', answers: { report: [{ errno: errno.EPROTO }] }, code: 'ERR_DEVICE_IO' },
    { name: 'memory out of reach', answers: { quote: [{ errno: errno.EFAULT }] }, code: 'ERR_DEVICE_REQUEST' },
] as { name: string; answers: Kernel; code: string; hint?: RegExp }[])
    test(`refused: ${name}`, async (t) => {
        const { door } = device(FORM, answers, [], 50)
        const error = await t.throwsAsync<AttestError>(door.quote({ reportData }), { code })
        if (hint) t.regex(error?.hint ?? '', hint)
    })

test('the signal ends the wait for a quote in flight', async (t) => {
    const controller = new AbortController()
    const forms = [{ ...FORM, device: '/dev/null' }]
    const { libc, submitted } = kernel(FORM, { quote: many(IN_FLIGHT) })
    const door = tdxGuest(libc, noLock, { forms, pollMs: 60_000, patienceMs: 600_000 })
    const asked = door.quote({ reportData, signal: controller.signal })
    setTimeout(() => controller.abort(new Error('enough')), 20)
    await t.throwsAsync(asked, { message: 'enough' })
    t.is(submitted.length, 1)
})

test('devices: the first that is here; none; a file in the place of one', async (t) => {
    const regular = join(temporaryFolder(t), 'tdx_guest')
    writeFileSync(regular, '')
    const door = (...paths: string[]) =>
        tdxGuest(kernel(FORM, {}).libc, noLock, { forms: paths.map((path) => ({ ...FORM, device: path })) })
    t.is(tdxDevice(['/dev/no-such-device', '/dev/null', '/dev/zero']).find(), '/dev/null')
    t.is(tdxDevice(['/dev/no-such-device']).find(), null)
    await t.throwsAsync(door('/dev/no-such-device').report({ reportData }), { code: 'ERR_DEVICE_GONE' })
    t.throws(() => tdxDevice([regular]).find(), { code: 'ERR_DEVICE_KIND' })
    await t.throwsAsync(door(regular).report({ reportData }), { code: 'ERR_DEVICE_KIND' })
})

test('a report, and a report with its quote, are each one turn under the lock of the device', async (t) => {
    const held: string[] = []
    const lock: DeviceLock = {
        async hold(name, request) {
            held.push(name)
            return request()
        },
    }
    const door = tdxGuest(kernel(FORM, {}).libc, lock, { forms: [{ ...FORM, device: '/dev/null' }] })
    await door.report({ reportData })
    await door.quote({ reportData })
    t.deepEqual(held, ['tdx-guest', 'tdx-guest'])
})

test('every type of message has a number of its own', (t) => {
    const numbers = Object.values(MESSAGE_TYPES)
    t.is(new Set(numbers).size, numbers.length)
})
