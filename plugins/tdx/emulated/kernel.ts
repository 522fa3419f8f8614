// What the kernel of an emulated TD offers: /dev/tdx_guest, the provider of configfs-tsm, the registers in sysfs and
// the event log. Linux drivers/virt/coco/tdx-guest/tdx-guest.c (7.0), tsm-mr.c, drivers/acpi/sysfs.c; GetQuote through
// the device as Intel's kernels and go-tdx-guest's had it, which upstream never did. Pure: what a request changes, its
// answer commits.
// SPDX-License-Identifier: Apache-2.0

import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import { LENGTH_SIZE, MESSAGE_HEADER, MESSAGE_TYPES, withLength } from '#drivers/linux/quoting-messages.ts'
import {
    QUOTE_HEADER,
    QUOTE_REQ,
    QUOTE_STATUS,
    REPORT_REQ,
    TD_REPORT_SIZE,
    TDX_FORMS,
} from '#drivers/linux/tdx-forms.ts'
import type { Answer, AttributeFile, Call, Device, IoctlCall, TsmProvider, UserMem } from '#emulator/model.ts'
import { RTMRS } from '../event-log/ccel.ts'
import { faultOf, meets } from './faults.ts'
import { ccelTable, logArea } from './measurements.ts'
import type { TdxModule } from './module.ts'

export const DEVICE_NAME = 'tdx_guest'

const MEASUREMENTS = `/sys/devices/virtual/misc/${DEVICE_NAME}/measurements`
const TABLES = '/sys/firmware/acpi/tables'

/** The largest buffer of a request for a quote. */
const MAX_BUFFER = 128 * 1024

/** Every form that a device of this name had takes reports by one number, and quotes by one of several. */
const REQUESTS: Readonly<Record<number, string>> = Object.fromEntries(
    TDX_FORMS.filter(({ device }) => device === `/dev/${DEVICE_NAME}`).flatMap(({ report, quote }) => [
        [report.request, 'getReport'],
        ...(quote ? [[quote.request, 'getQuote']] : []),
    ]),
)

export interface TdxKernel {
    readonly devices: Readonly<Record<string, Device>>
    readonly tsm: TsmProvider
    readonly files: Readonly<Record<string, AttributeFile>>
}

/**
 * @param log the event log that the firmware has left
 * @param provider what configfs calls itself
 */
export function tdxKernel(module: TdxModule, log: Buffer, provider: string = DEVICE_NAME): TdxKernel {
    /** Until when the buffer of a request that timed out is the host's. */
    let hostHasBuffer = 0

    const isBusy = (call: Call) => meets(call, 'busy') || call.nowMs < hostHasBuffer

    function getReport(call: IoctlCall, memory: UserMem): Answer {
        const { reportData } = REPORT_REQ.fields
        const nonce = memory.read(call.argument, reportData.size)
        if (meets(call, 'busy')) return { errno: 'EBUSY' }
        const { report, commit } = reportOf(call, module, nonce)
        memory.write(call.argument + BigInt(REPORT_REQ.fields.tdReport.offset), report)
        return { commit }
    }

    function getQuote(call: IoctlCall, memory: UserMem): Answer {
        const { buffer, length } = QUOTE_REQ.parse(memory.read(call.argument, QUOTE_REQ.size))
        if (length < BigInt(QUOTE_HEADER.size) || length > BigInt(MAX_BUFFER)) return { errno: 'EINVAL' }
        const header = QUOTE_HEADER.parse(memory.read(buffer, QUOTE_HEADER.size))
        const room = Number(length) - QUOTE_HEADER.size
        if (header.version !== 1n || header.inLength > room) return { errno: 'EINVAL' }
        const input = memory.read(buffer + BigInt(QUOTE_HEADER.size), header.inLength)
        if (isBusy(call)) return { errno: 'EBUSY' }
        const late = faultOf(call, 'timeout')
        if (late) return timedOut(call, late)
        const { status, output } = inRoom(answerOf(call, module, input), room)
        const answered = QUOTE_HEADER.encode({ ...header, status, outLength: output.length })
        memory.write(buffer, Buffer.concat([answered, output]))
        return {}
    }

    function timedOut(call: Call, { ms, busyMs }: { readonly ms: number; readonly busyMs: number }) {
        const commit = () => {
            hostHasBuffer = call.nowMs + ms + busyMs
        }
        return { errno: 'ETIMEDOUT', delayMs: ms, commit } as const
    }

    return {
        devices: {
            [DEVICE_NAME]: {
                mode: 0o600,
                requests: REQUESTS,
                ioctl(call, memory) {
                    const name = REQUESTS[call.request]
                    if (name === 'getReport') return getReport(call, memory)
                    return name === 'getQuote' ? getQuote(call, memory) : { errno: 'ENOTTY' }
                },
            },
        },
        tsm: {
            name: provider,
            hasAuxblob: false,
            report({ inblob, ...call }) {
                const nothing = { outblob: NOTHING, auxblob: NOTHING }
                if (isBusy(call) || meets(call, 'in-flight')) return { errno: 'EBUSY', ...nothing }
                if (inblob.length !== REPORT_DATA_SIZE) return { errno: 'EINVAL', ...nothing }
                const late = faultOf(call, 'timeout')
                if (late) return { ...timedOut(call, late), ...nothing }
                const { report, commit } = reportOf(call, module, inblob)
                const { status, output } = answerOf(call, module, report)
                const failed = status !== QUOTE_STATUS.done || meets(call, 'service-error')
                if (failed) return { errno: 'EIO', commit, ...nothing }
                return { outblob: output, auxblob: NOTHING, commit }
            },
        },
        files: { ...registerFiles(module), ...logFiles(log) },
    }
}

const NOTHING = Buffer.alloc(0)

// A TDREPORT, and what else happens meanwhile.
function reportOf(call: Call, module: TdxModule, nonce: Buffer): { report: Buffer; commit: () => void } {
    if (!meets(call, 'register-race')) return { report: module.report(nonce), commit: () => undefined }
    const last = RTMRS.length - 1
    const rtmrs = module.extended(last, Buffer.alloc(48, 0xac))
    return { report: module.report(nonce, rtmrs), commit: () => module.setRegisters(rtmrs) }
}

/** What the host leaves in the buffer of a request. */
interface Answered {
    readonly status: bigint
    readonly output: Buffer
}

// The host hands the payload to the quoting service: the report itself, or a message with its length before it.
function answerOf(call: Call, module: TdxModule, payload: Buffer): Answered {
    const statuses = [
        ['in-flight', QUOTE_STATUS.inFlight],
        ['quote-error', QUOTE_STATUS.error],
        ['unavailable', QUOTE_STATUS.unavailable],
    ] as const
    for (const [kind, status] of statuses) if (meets(call, kind)) return { status, output: NOTHING }
    if (meets(call, 'empty-quote')) return { status: QUOTE_STATUS.done, output: NOTHING }
    const request = payload.length === TD_REPORT_SIZE ? null : readQuoteRequest(payload)
    const report = request ?? payload
    const refused = faultOf(call, 'service-error')?.code
    const quote =
        refused === undefined
            ? module.quote(report, {
                  wrongNonce: meets(call, 'wrong-nonce'),
                  badSignature: meets(call, 'bad-signature'),
              })
            : NOTHING
    if (quote === null) return { status: QUOTE_STATUS.error, output: NOTHING }
    const output = request === null ? quote : withLength(encodeQuoteResponse(quote, refused ?? 0))
    return { status: QUOTE_STATUS.done, output: padded(output, faultOf(call, 'padded')?.size ?? 0) }
}

const inRoom = (answered: Answered, room: number): Answered =>
    answered.output.length <= room ? answered : { status: QUOTE_STATUS.error, output: NOTHING }

// As a host's memory may look that nobody cleared.
function padded(output: Buffer, size: number): Buffer {
    const noise = Buffer.alloc(Math.max(0, size - output.length))
    for (const index of noise.keys()) noise[index] = (index * 167 + 13) & 0xff
    return Buffer.concat([output, noise])
}

/** Sizes of the report, and of the list of key ids, which may name any. */
const REQUEST_SIZES = 8

// The report in a message; empty where it is none: the service can do nothing with it.
function readQuoteRequest(payload: Buffer): Buffer {
    const message = payload.subarray(LENGTH_SIZE)
    const start = MESSAGE_HEADER.size + REQUEST_SIZES
    if (message.length < start || payload.readUInt32BE(0) !== message.length) return NOTHING
    const { type, size } = MESSAGE_HEADER.parse(message.subarray(0, MESSAGE_HEADER.size))
    if (type !== MESSAGE_TYPES.getQuoteRequest || size !== message.length) return NOTHING
    return message.subarray(start, start + message.readUInt32LE(MESSAGE_HEADER.size))
}

function encodeQuoteResponse(quote: Buffer, errorCode: number): Buffer {
    const sizes = Buffer.alloc(REQUEST_SIZES) // no key id
    sizes.writeUInt32LE(quote.length, 4)
    const header = MESSAGE_HEADER.encode({
        major: 1,
        minor: 0,
        type: MESSAGE_TYPES.getQuoteResponse,
        size: MESSAGE_HEADER.size + REQUEST_SIZES + quote.length,
        errorCode,
    })
    return Buffer.concat([header, sizes, quote])
}

function registerFiles(module: TdxModule): Record<string, AttributeFile> {
    const { mrTd, mrConfigId, mrOwner, mrOwnerConfig } = module.launch
    const fixed = { 'mrtd:sha384': mrTd, mrconfigid: mrConfigId, mrowner: mrOwner, mrownerconfig: mrOwnerConfig }
    return Object.fromEntries([
        ...Object.entries(fixed).map(([name, bytes]) => [`${MEASUREMENTS}/${name}`, readOnly(bytes, 0o444)]),
        ...RTMRS.map((name, index) => [`${MEASUREMENTS}/${name}:sha384`, register(module, index)]),
    ])
}

function register(module: TdxModule, index: number): AttributeFile {
    return {
        mode: 0o644,
        size: 48,
        requests: { read: 'readRegister', write: 'extendRegister' },
        read: () => ({ bytes: module.registers()[index] ?? NOTHING }),
        write({ offset, bytes }) {
            if (offset !== 0 || bytes.length !== 48) return { errno: 'EINVAL' }
            const rtmrs = module.extended(index, bytes)
            return { commit: () => module.setRegisters(rtmrs) }
        },
    }
}

function logFiles(log: Buffer): Record<string, AttributeFile> {
    const area = logArea(log)
    return {
        [`${TABLES}/CCEL`]: readOnly(ccelTable(area.length), 0o400),
        [`${TABLES}/data/CCEL`]: readOnly(area, 0o400),
    }
}

const readOnly = (bytes: Buffer, mode: number): AttributeFile => ({
    mode,
    size: bytes.length,
    read: () => ({ bytes }),
})
