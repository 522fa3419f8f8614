// /dev/sev-guest: the requests that a guest sends to the SEV-SNP firmware through its kernel.
// Linux include/uapi/linux/sev-guest.h, drivers/virt/coco/sev-guest; AMD 56860 rev 1.58, chapter 7. Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { bytes, layout, u8, u32, u64, zero } from '#core/layout.ts'
import { driverError } from '../errors.ts'
import { withDevice } from './device-file.ts'
import type { DeviceLock } from './device-lock.ts'
import type { Ioctls } from './libc.ts'
import { KEY_LOST_HINT, SEV_DEVICE, SEV_GUEST_LOCK } from './sev-device.ts'
import { firmwareError } from './sev-firmware.ts'

export interface SevGuest {
    /** SNP_GET_EXT_REPORT: a report, and the host's certificate table (empty where it has none). */
    extendedReport(request: ReportRequest): Promise<{ report: Buffer; certificates: Buffer }>
    /** SNP_GET_REPORT: a report alone. */
    report(request: ReportRequest): Promise<Buffer>
    /** SNP_GET_DERIVED_KEY: 32 bytes. */
    derivedKey(request: DerivedKeyRequest, signal?: AbortSignal): Promise<Secret>
}

export interface ReportRequest {
    /** 64 bytes that the report carries. */
    readonly reportData: Uint8Array
    readonly vmpl: number
    readonly signal?: AbortSignal | undefined
}

export interface DerivedKeyRequest {
    /** GUEST_FIELD_SELECT. */
    readonly guestFieldSelect: bigint
    readonly vmpl: number
    readonly guestSvn: number
    readonly tcbVersion: bigint
}

/** Type byte 'S', read and write, argument of 32 bytes. */
export const SNP_IOCTL = { getReport: 0xc0205300, getDerivedKey: 0xc0205301, getExtReport: 0xc0205302 } as const

/** The argument of each of these ioctls. The addresses point into the caller's memory. */
export const GUEST_REQUEST = layout('snp_guest_request_ioctl', 32, {
    msgVersion: u8(0),
    pad: zero(1, 7),
    reqData: u64(8),
    respData: u64(16),
    fwError: u32(24),
    vmmError: u32(28),
})

export const REPORT_REQ = layout('snp_report_req', 96, {
    userData: bytes(0, 64),
    vmpl: u32(64),
    reserved: zero(68, 28),
})

export const EXT_REPORT_REQ = layout('snp_ext_report_req', 112, {
    userData: bytes(0, 64),
    vmpl: u32(64),
    reserved: zero(68, 28),
    certsAddress: u64(96),
    certsLen: u32(104),
    pad: zero(108, 4),
})

/** What stands at the start of the 4000 bytes of a report response; the report follows at 32. */
export const REPORT_RESP_HEADER = layout('MSG_REPORT_RSP', 32, {
    status: u32(0),
    reportSize: u32(4),
    reserved: zero(8, 24),
})

export const DERIVED_KEY_REQ = layout('snp_derived_key_req', 32, {
    rootKeySelect: u32(0),
    reserved: zero(4, 4),
    guestFieldSelect: u64(8),
    vmpl: u32(16),
    guestSvn: u32(20),
    tcbVersion: u64(24),
})

/** What stands at the start of the 64 bytes of a derived-key response; the key follows at 32. */
export const DERIVED_KEY_RESP_HEADER = layout('MSG_KEY_RSP', 32, { status: u32(0), reserved: zero(4, 28) })

export const REPORT_RESP_SIZE = 4000
export const REPORT_SIZE = 1184
export const DERIVED_KEY_RESP_SIZE = 64

/** The largest certificate table that the kernel hands over, and what is asked for first: one round trip less. */
export const MAX_CERTIFICATES = 0x4000

const MSG_VERSION = 1
/** What the driver sets before it calls: -1, and 255 in kernels before 6.2. */
const NO_FIRMWARE_CALL: readonly number[] = [0xffffffff, 0xff]

/** enum snp_guest_vmm_error. */
export const VMM_ERROR = { invalidLength: 1, busy: 2 } as const

const ERRNO = constants.errno

export function sevGuest(libc: () => Ioctls, lock: DeviceLock, path: string = SEV_DEVICE): SevGuest {
    const call = (request: number, name: string, payload: Buffer, response: Buffer, signal?: AbortSignal) =>
        lock.hold(SEV_GUEST_LOCK, () => guestRequest(libc(), path, request, name, payload, response), signal)

    return {
        async report({ reportData, vmpl, signal }) {
            const payload = REPORT_REQ.encode({ userData: Buffer.from(reportData), vmpl })
            const response = Buffer.alloc(REPORT_RESP_SIZE)
            const vmmError = await call(SNP_IOCTL.getReport, 'SNP_GET_REPORT', payload, response, signal)
            if (vmmError) throw shortBuffer('SNP_GET_REPORT')
            return readReport(response, 'SNP_GET_REPORT')
        },
        async extendedReport({ reportData, vmpl, signal }) {
            const response = Buffer.alloc(REPORT_RESP_SIZE)
            let size = MAX_CERTIFICATES
            // The kernel has burnt a sequence number when it says that the buffer is short: ask again once, with the
            // size that it named; a host that names another one each time is not followed further.
            for (let attempt = 0; attempt < 2; attempt++) {
                const table = Buffer.alloc(size)
                const payload = EXT_REPORT_REQ.encode({
                    userData: Buffer.from(reportData),
                    vmpl,
                    certsAddress: libc().addressOf(table),
                    certsLen: size,
                })
                if (!(await call(SNP_IOCTL.getExtReport, 'SNP_GET_EXT_REPORT', payload, response, signal)))
                    return { report: readReport(response, 'SNP_GET_EXT_REPORT'), certificates: table }
                size = EXT_REPORT_REQ.parse(payload).certsLen
                if (size === 0 || size % 4096 !== 0) break
            }
            throw shortBuffer('SNP_GET_EXT_REPORT')
        },
        async derivedKey(request, signal) {
            const payload = DERIVED_KEY_REQ.encode({ rootKeySelect: 0, ...request })
            const response = Buffer.alloc(DERIVED_KEY_RESP_SIZE)
            try {
                if (await call(SNP_IOCTL.getDerivedKey, 'SNP_GET_DERIVED_KEY', payload, response, signal))
                    throw shortBuffer('SNP_GET_DERIVED_KEY')
                const { status } = DERIVED_KEY_RESP_HEADER.parse(response.subarray(0, 32))
                if (status !== 0) throw firmwareError(status, 'SNP_GET_DERIVED_KEY')
                return secret(response.subarray(32))
            } finally {
                wipe(response)
            }
        },
    }
}

// One ioctl. True where the host says that the certificate buffer is too short; every other failure throws.
async function guestRequest(
    libc: Ioctls,
    path: string,
    request: number,
    name: string,
    payload: Buffer,
    response: Buffer,
): Promise<boolean> {
    return withDevice(path, async (fd) => {
        const argument = GUEST_REQUEST.encode({
            msgVersion: MSG_VERSION,
            reqData: libc.addressOf(payload),
            respData: libc.addressOf(response),
            fwError: 0xffffffff,
            vmmError: 0,
        })
        const { result, errno } = await libc.ioctl(fd, request, argument)
        if (result >= 0) return false
        const { fwError, vmmError } = GUEST_REQUEST.parse(argument)
        // Kernels before 6.2 leave these words as they found them unless errno is EIO.
        if (errno === ERRNO.EIO && vmmError === VMM_ERROR.invalidLength) return true
        throw ioctlError(path, name, errno, fwError, vmmError)
    })
}

function ioctlError(path: string, name: string, errno: number, fwError: number, vmmError: number) {
    if (errno === ERRNO.EIO && vmmError === VMM_ERROR.busy)
        return driverError('ERR_DEVICE_BUSY', `${name}: the host is busy`, {
            hint: 'wait a few seconds between requests',
        })
    if (errno === ERRNO.EIO && vmmError === 0 && fwError !== 0 && !NO_FIRMWARE_CALL.includes(fwError))
        return firmwareError(fwError, name)
    const row = ERRNO_ERRORS[errno]
    if (!row) return driverError('ERR_DEVICE_IO', `${name} on ${path}: errno ${errno}`)
    const words = errno === ERRNO.EIO ? ` (firmware ${hex(fwError)}, host ${hex(vmmError)})` : ''
    return driverError(row.code, `${name} on ${path}: ${row.text}${words}`, { hint: row.hint })
}

const ERRNO_ERRORS: Readonly<Record<number, { code: Parameters<typeof driverError>[0]; text: string; hint?: string }>> =
    {
        [ERRNO.EIO]: { code: 'ERR_DEVICE_IO', text: 'the request failed below the kernel', hint: KEY_LOST_HINT },
        [ERRNO.EFAULT]: { code: 'ERR_DEVICE_REQUEST', text: 'the kernel could not read the request (EFAULT)' },
        [ERRNO.EINVAL]: { code: 'ERR_DEVICE_REQUEST', text: 'the kernel refuses the request (EINVAL)' },
        [ERRNO.ENOTTY]: {
            code: 'ERR_DEVICE_KEY_LOST',
            text: 'no message key for this privilege level',
            hint: KEY_LOST_HINT,
        },
        [ERRNO.EBADMSG]: { code: 'ERR_DEVICE_RESPONSE', text: 'the answer is not from the firmware (EBADMSG)' },
        [ERRNO.ECONNABORTED]: { code: 'ERR_DEVICE_GONE', text: 'the device has gone (ECONNABORTED)' },
        [ERRNO.ETIMEDOUT]: { code: 'ERR_DEVICE_THROTTLED', text: 'the host throttled for 60 s', hint: KEY_LOST_HINT },
    }

function readReport(response: Buffer, name: string): Buffer {
    const { status, reportSize } = REPORT_RESP_HEADER.parse(response.subarray(0, 32))
    if (status !== 0) throw firmwareError(status, name)
    if (reportSize !== REPORT_SIZE)
        throw driverError(
            'ERR_DEVICE_RESPONSE',
            `${name}: expected a report of ${REPORT_SIZE} bytes, got ${reportSize}`,
        )
    return Buffer.from(response.subarray(32, 32 + REPORT_SIZE))
}

const shortBuffer = (name: string) =>
    driverError('ERR_DEVICE_RESPONSE', `${name}: the host wants a certificate buffer that the kernel does not allow`)

const hex = (word: number): string => `0x${word.toString(16)}`
