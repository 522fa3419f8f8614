// The forms in which kernels of TDX guests have taken requests: Linux include/uapi/linux/tdx-guest.h (6.2); before and
// beside it as Intel's libtdx_attest and go-tdx-guest called them; Intel GHCI for TDX 1.5, TDG.VP.VMCALL<GetQuote>.
// Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { bytes, layout, u8, u32, u64, zero } from '#core/layout.ts'
import { REPORT_DATA_SIZE } from '#core/sizes.ts'
import { TDX_DEVICES } from './tdx-device.ts'

/** How a kernel takes a request for a TDREPORT. */
export type ReportShape =
    /** REPORTDATA, and behind it room for the report. */
    | 'request'
    /** REPORTDATA at the start of the room for the report. */
    | 'inPlace'
    /** The addresses and sizes of both. */
    | 'pointers'

/** What the GetQuote buffer holds behind its header: the report itself, or a message to the quoting service. */
type Payload = 'report' | 'message'

/** One form of the device's requests: Linux uapi tdx-guest.h or Intel's drivers, as its name says. */
export interface TdxForm {
    readonly name: string
    readonly device: string
    readonly report: { readonly request: number; readonly shape: ReportShape }
    /** Absent: the kernel makes no quotes through its device. */
    readonly quote?: { readonly request: number; readonly payload: Payload; readonly bufferSize: number }
}

const [DEVICE, DEVICE_2023, DEVICE_2022] = TDX_DEVICES
const REPORT0 = { request: 0xc4405401, shape: 'request' } as const
const INTEL_BUFFER = 16 * 1024

/** The forms that there were, by device; of one device the newest first. The ioctl numbers are of type byte 'T'. */
export const TDX_FORMS: readonly TdxForm[] = [
    {
        name: 'DCAP 1.21, third driver',
        device: DEVICE,
        report: REPORT0,
        quote: { request: 0xc0105404, payload: 'message', bufferSize: INTEL_BUFFER },
    },
    {
        name: 'DCAP 1.18',
        device: DEVICE,
        report: REPORT0,
        quote: { request: 0x80105404, payload: 'message', bufferSize: INTEL_BUFFER },
    },
    {
        name: 'as go-tdx-guest calls it',
        device: DEVICE,
        report: REPORT0,
        quote: { request: 0xc0105402, payload: 'report', bufferSize: 16 * 1024 },
    },
    {
        name: 'DCAP 1.17',
        device: DEVICE,
        report: REPORT0,
        quote: { request: 0x80105402, payload: 'message', bufferSize: INTEL_BUFFER },
    },
    { name: 'Linux 6.2', device: DEVICE, report: REPORT0 },
    {
        name: 'DCAP 1.16',
        device: DEVICE_2023,
        report: { request: 0xc0085401, shape: 'pointers' },
        quote: { request: 0x80085402, payload: 'message', bufferSize: INTEL_BUFFER },
    },
    {
        name: 'DCAP 1.14',
        device: DEVICE_2022,
        report: { request: 0xc0085401, shape: 'inPlace' },
        quote: { request: 0x80085402, payload: 'message', bufferSize: INTEL_BUFFER },
    },
]

/** The size of TDREPORT_STRUCT, in bytes. Intel TDX Module ABI specification 1.5, table 3.55. */
export const TD_REPORT_SIZE = 1024

/** struct tdx_report_req, of TDX_CMD_GET_REPORT0. */
export const REPORT_REQ = layout('tdx_report_req', REPORT_DATA_SIZE + TD_REPORT_SIZE, {
    reportData: bytes(0, REPORT_DATA_SIZE),
    tdReport: bytes(REPORT_DATA_SIZE, TD_REPORT_SIZE),
})

/** The same of 2023: addresses in the caller's memory. */
export const REPORT_POINTERS = layout('tdx_report_req of DCAP 1.16', 40, {
    subtype: u8(0),
    pad1: zero(1, 7),
    reportData: u64(8),
    reportDataSize: u32(16),
    pad20: zero(20, 4),
    tdReport: u64(24),
    tdReportSize: u32(32),
    pad36: zero(36, 4),
})

/** struct tdx_quote_req. */
export const QUOTE_REQ = layout('tdx_quote_req', 16, { buffer: u64(0), length: u64(8) })

/** struct tdx_quote_hdr, at the start of the buffer; the payload, and then the quote, follow. */
export const QUOTE_HEADER = layout('tdx_quote_hdr', 24, {
    version: u64(0),
    status: u64(8),
    inLength: u32(16),
    outLength: u32(20),
})

/** The status in a GetQuote buffer. Intel GHCI for TDX 1.5, TDG.VP.VMCALL<GetQuote>. */
export const QUOTE_STATUS = {
    done: 0n,
    inFlight: 0xffff_ffff_ffff_ffffn,
    error: 0x8000_0000_0000_0000n,
    unavailable: 0x8000_0000_0000_0001n,
} as const
