// /dev/tdx_guest: a TDREPORT, and where the kernel is not an upstream one a quote of it.
// In which form it is asked is tdx-forms.ts.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { monotonicMs, pause } from '#core/wait.ts'
import { driverError } from '../errors.ts'
import { withDevice } from './device-file.ts'
import type { DeviceLock } from './device-lock.ts'
import type { Ioctls } from './libc.ts'
import { encodeQuoteRequest, isMessage, LENGTH_SIZE, readQuoteResponse } from './quoting-messages.ts'
import { TDX_GUEST_LOCK, tdxDevice } from './tdx-device.ts'
import {
    QUOTE_HEADER,
    QUOTE_REQ,
    QUOTE_STATUS,
    REPORT_POINTERS,
    REPORT_REQ,
    type ReportShape,
    TD_REPORT_SIZE,
    TDX_FORMS,
    type TdxForm,
} from './tdx-forms.ts'

/** The device of a TDX guest, whichever of its forms the kernel has. */
export interface TdxGuest {
    /** Whether the kernel makes quotes through the device, which no upstream kernel does. Nothing is sent to the host. */
    makesQuotes(): Promise<boolean>
    /** A TDREPORT, 1024 bytes. @throws AttestError ERR_DEVICE_* */
    report(request: TdReportRequest): Promise<Buffer>
    /** A quote, perhaps with bytes behind it that are none of its own. @throws AttestError ERR_DEVICE_*, ERR_QUOTE_* */
    quote(request: TdReportRequest): Promise<Buffer>
}

/** What a TDREPORT, or a quote of one, is asked for. */
export interface TdReportRequest {
    /** 64 bytes that the report carries. */
    readonly reportData: Uint8Array
    /** Ends the wait for the device. */
    readonly signal?: AbortSignal | undefined
}

const QUOTE_VERSION = 1n

/** How often a host that still works on a quote is asked again, and for how long. */
const POLL_MS = 1000
const PATIENCE_MS = 30_000

const ERRNO = constants.errno

/** What a kernel says of a number that it does not know. */
const UNKNOWN_REQUEST: readonly number[] = [ERRNO.ENOTTY, ERRNO.EINVAL]

/** What passes: another request is under way. */
const PASSING: readonly number[] = [ERRNO.EBUSY, ERRNO.EAGAIN, ERRNO.EINTR]

export interface TdxGuestOptions {
    readonly forms?: readonly TdxForm[]
    readonly pollMs?: number
    readonly patienceMs?: number
}

export function tdxGuest(
    libc: () => Ioctls,
    lock: DeviceLock,
    { forms = TDX_FORMS, pollMs = POLL_MS, patienceMs = PATIENCE_MS }: TdxGuestOptions = {},
): TdxGuest {
    const devices = [...new Set(forms.map(({ device }) => device))]
    const here = (): { device: string; rows: readonly TdxForm[] } => {
        const device = tdxDevice(devices).find()
        if (device === null) throw driverError('ERR_DEVICE_GONE', `there is none of ${devices.join(', ')}`)
        return { device, rows: forms.filter((form) => form.device === device) }
    }
    const hold = <T>({ signal = new AbortController().signal }: TdReportRequest, use: (open: Open) => Promise<T>) =>
        lock.hold(
            TDX_GUEST_LOCK,
            async () => {
                const { device, rows } = here()
                return await withDevice(device, (fd) =>
                    use({ libc: libc(), fd, device, rows, wait: { signal, pollMs, patienceMs } }),
                )
            },
            signal,
        )
    return {
        async makesQuotes() {
            const { device, rows } = here()
            // A null pointer: whoever knows the number fails when he reads the argument.
            return await withDevice(device, async (fd) => {
                for (const { quote } of rows)
                    if (quote && !isUnknown((await libc().ioctl(fd, quote.request, null)).errno)) return true
                return false
            })
        },
        report: (request) => hold(request, (open) => getReport(open, request.reportData)),
        quote: (request) => hold(request, async (open) => getQuote(open, await getReport(open, request.reportData))),
    }
}

interface Waiting {
    readonly signal: AbortSignal
    readonly pollMs: number
    readonly patienceMs: number
}

/** An open device, the forms that it may have, and how long to wait for it. */
interface Open {
    readonly libc: Ioctls
    readonly fd: number
    readonly device: string
    readonly rows: readonly TdxForm[]
    readonly wait: Waiting
}

const isUnknown = (errno: number): boolean => UNKNOWN_REQUEST.includes(errno)

/** What a request has come to: its result, or why it must be asked again. */
type Attempted<T> = { readonly result: T } | { readonly again: Error }

// Again and again until it is done, each time with a buffer of its own: what the host still works on is the kernel's.
async function patiently<T>({ signal, pollMs, patienceMs }: Waiting, attempt: () => Promise<Attempted<T>>): Promise<T> {
    const end = monotonicMs() + patienceMs
    for (;;) {
        const attempted = await attempt()
        if ('result' in attempted) return attempted.result
        if (monotonicMs() + pollMs > end) throw attempted.again
        await pause(pollMs, signal)
    }
}

/** One ioctl. @throws AttestError ERR_DEVICE_* */
async function call({ libc, fd, device }: Open, request: number, name: string, argument: Buffer) {
    const { result, errno } = await libc.ioctl(fd, request, argument)
    if (result === 0) return null
    const what = `${name} on ${device}`
    if (PASSING.includes(errno))
        return driverError('ERR_DEVICE_BUSY', `${what}: an earlier request is still with the host (errno ${errno})`)
    const row = ERRNO_ERRORS[errno]
    throw row
        ? Object.assign(driverError(row.code, `${what}: ${row.text}`, { hint: row.hint }), { errno })
        : driverError('ERR_DEVICE_IO', `${what}: errno ${errno}, result ${result}`)
}

const ERRNO_ERRORS: Readonly<
    Record<number, { code: Parameters<typeof driverError>[0]; text: string; hint?: string | undefined }>
> = {
    [ERRNO.EIO]: { code: 'ERR_DEVICE_IO', text: 'the TDX module or the host refuses the request (EIO)' },
    [ERRNO.EFAULT]: { code: 'ERR_DEVICE_REQUEST', text: 'the kernel could not read the request (EFAULT)' },
    [ERRNO.EINVAL]: { code: 'ERR_DEVICE_REQUEST', text: 'the kernel refuses the request (EINVAL)' },
    [ERRNO.ENOTTY]: {
        code: 'ERR_DEVICE_REQUEST',
        text: 'the kernel does not know the request (ENOTTY)',
        hint: 'upstream kernels make quotes through configfs-tsm (Linux 6.7): --via configfs',
    },
    [ERRNO.ENXIO]: { code: 'ERR_DEVICE_GONE', text: 'the device has gone (ENXIO)' },
    [ERRNO.ETIMEDOUT]: { code: 'ERR_DEVICE_TIMEOUT', text: 'the host did not answer in time (ETIMEDOUT)' },
    [ERRNO.ENOTCONN]: { code: 'ERR_DEVICE_GONE', text: 'whoever serves it has gone (ENOTCONN)' },
    [ERRNO.ECONNABORTED]: { code: 'ERR_DEVICE_GONE', text: 'whoever served it has gone (ECONNABORTED)' },
}

const SHAPES: Readonly<
    Record<ReportShape, (libc: Ioctls, reportData: Buffer) => { argument: Buffer; report: () => Buffer }>
> = {
    request(_, reportData) {
        const argument = REPORT_REQ.encode({ reportData, tdReport: Buffer.alloc(TD_REPORT_SIZE) })
        return { argument, report: () => REPORT_REQ.parse(argument).tdReport }
    },
    inPlace(_, reportData) {
        const argument = Buffer.alloc(TD_REPORT_SIZE)
        argument.set(reportData)
        return { argument, report: () => argument }
    },
    pointers(libc, reportData) {
        const tdReport = Buffer.alloc(TD_REPORT_SIZE)
        const argument = REPORT_POINTERS.encode({
            subtype: 0,
            reportData: libc.addressOf(reportData),
            reportDataSize: reportData.length,
            tdReport: libc.addressOf(tdReport),
            tdReportSize: tdReport.length,
        })
        return { argument, report: () => tdReport }
    },
}

// Every form of one device asks for its report in the same way.
async function getReport(open: Open, given: Uint8Array): Promise<Buffer> {
    const reportData = Buffer.from(given)
    const [form] = open.rows
    if (!form) throw new TypeError(`no form is known of ${open.device}`)
    return patiently(open.wait, async () => {
        const { argument, report } = SHAPES[form.report.shape](open.libc, reportData)
        const busy = await call(open, form.report.request, 'the request for a TDREPORT', argument)
        return busy ? { again: busy } : { result: report() }
    })
}

// Which form the kernel knows is seen when it is asked: some kernels say EINVAL of a number that they do not know.
async function getQuote(open: Open, tdReport: Buffer): Promise<Buffer> {
    let refusal: unknown
    for (const { quote } of open.rows) {
        if (!quote) continue
        try {
            return await patiently(open.wait, () => submit(open, quote, tdReport))
        } catch (error) {
            if (!isUnknown((error as { errno?: number }).errno ?? 0)) throw error
            refusal = error
        }
    }
    throw refusal ?? driverError('ERR_DEVICE_REQUEST', `${open.device}: the kernel makes no quotes through its device`)
}

async function submit(
    open: Open,
    { request, payload, bufferSize }: NonNullable<TdxForm['quote']>,
    tdReport: Buffer,
): Promise<Attempted<Buffer>> {
    const input = payload === 'message' ? encodeQuoteRequest(tdReport) : tdReport
    const buffer = Buffer.alloc(bufferSize)
    const room = bufferSize - QUOTE_HEADER.size
    const header = { version: QUOTE_VERSION, status: 0n, inLength: input.length, outLength: 0 }
    buffer.set(QUOTE_HEADER.encode(header))
    buffer.set(input, QUOTE_HEADER.size)
    const argument = QUOTE_REQ.encode({ buffer: open.libc.addressOf(buffer), length: BigInt(bufferSize) })
    const busy = await call(open, request, 'the request for a quote', argument)
    if (busy) return { again: busy }
    const { status, outLength } = QUOTE_HEADER.parse(buffer.subarray(0, QUOTE_HEADER.size))
    if (status === QUOTE_STATUS.inFlight)
        return { again: driverError('ERR_QUOTE_IN_FLIGHT', `${open.device}: the host still works on the quote`) }
    if (status !== QUOTE_STATUS.done) throw statusError(open.device, status)
    if (outLength === 0)
        throw driverError('ERR_QUOTE_EMPTY', `${open.device}: the host answered with an empty quote`, {
            hint: NO_SERVICE,
        })
    if (outLength > room)
        throw driverError(
            'ERR_DEVICE_RESPONSE',
            `${open.device}: the host says that the quote has ${outLength} bytes, there is room for ${room}`,
        )
    const output = buffer.subarray(QUOTE_HEADER.size, QUOTE_HEADER.size + outLength)
    return { result: isMessage(output) ? readQuoteResponse(messageOf(output)) : Buffer.from(output) }
}

// Bytes behind the message are nobody's.
const messageOf = (output: Buffer): Buffer => output.subarray(LENGTH_SIZE, LENGTH_SIZE + output.readUInt32BE(0))

const NO_SERVICE = "the host's quoting service is not set up, or cannot reach Intel's: tell the operator of the host"

function statusError(device: string, status: bigint) {
    if (status === QUOTE_STATUS.unavailable)
        return driverError('ERR_QUOTE_UNAVAILABLE', `${device}: the host has no quoting service`, { hint: NO_SERVICE })
    const word = `0x${status.toString(16)}`
    return driverError('ERR_QUOTE_FAILED', `${device}: the host could not make a quote (status ${word})`, {
        hint: NO_SERVICE,
    })
}
