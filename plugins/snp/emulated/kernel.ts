// The kernel's driver of an SNP guest, between its two doors and a firmware: what it does with a request, and when it
// drops its message key. Linux drivers/virt/coco/sev-guest/sev-guest.c. Pure: what a request changes, its answer
// commits.
// SPDX-License-Identifier: Apache-2.0

import { firmwareStatus } from '#drivers/linux/sev-firmware.ts'
import {
    DERIVED_KEY_REQ,
    EXT_REPORT_REQ,
    GUEST_REQUEST,
    MAX_CERTIFICATES,
    REPORT_REQ,
    SNP_IOCTL,
    VMM_ERROR,
} from '#drivers/linux/sev-guest.ts'
import type { Answer, Call, Device, ErrnoName, TsmProvider, UserMem } from '#emulator/model.ts'
import { parseCertTable } from '../cert-table.ts'
import { faultOf } from './faults.ts'
import { type Firmware, keyResponse, reportResponse } from './firmware.ts'

const PAGE_SIZE = 4096

/** The refusals of the firmware that configfs tells apart from others. */
const REQUEST_REFUSED = [firmwareStatus('INVALID_PARAM'), firmwareStatus('INVALID_KEY')]

/** exitinfo2 as the driver presets it: no call of the firmware was made. */
const NO_CALL = { fwError: 0xff, vmmError: 0 } as const
const NO_ERROR = { fwError: 0, vmmError: 0 } as const

/** Where exitinfo2 stands in the argument. */
const EXITINFO2 = BigInt(GUEST_REQUEST.fields.fwError.offset)

/** @param table the host's certificates, @param vmpl the level that the kernel runs at */
export function snpGuest(
    firmware: Firmware,
    table: Buffer,
    vmpl: number,
): { devices: { 'sev-guest': Device }; tsm: TsmProvider } {
    let keyLost = false
    let recent: readonly number[] = []

    // snp_send_guest_request: whatever the host or the firmware answers with an error costs the message key.
    function send(call: Call, ask: () => Buffer): Sent {
        if (keyLost) return { errno: 'ENOTTY', ...NO_CALL, response: NOTHING, delayMs: 0, commit: () => undefined }
        const burst = faultOf(call, 'key-lost-on-burst')
        const since = recent.filter((ms) => burst && call.nowMs - ms < burst.withinMs)
        const commit = () => {
            recent = [...since, call.nowMs]
        }
        const lose = (errno: ErrnoName, fwError: number, vmmError: number, delayMs = 0): Sent => ({
            errno,
            fwError,
            vmmError,
            response: NOTHING,
            delayMs,
            commit: () => {
                commit()
                keyLost = true
            },
        })
        if (burst && since.length + 1 > burst.more) return lose('ETIMEDOUT', 0, VMM_ERROR.busy)
        const timeout = faultOf(call, 'timeout')
        if (timeout) return lose('ETIMEDOUT', 0, VMM_ERROR.busy, timeout.ms)
        const fwError = faultOf(call, 'firmware-error')?.status
        if (fwError !== undefined) return lose('EIO', fwError, 0)
        const vmmError = faultOf(call, 'vmm-status')?.status
        if (vmmError !== undefined) return lose('EIO', 0, vmmError)
        return { ...NO_ERROR, response: ask(), delayMs: faultOf(call, 'busy')?.ms ?? 0, commit }
    }

    const askReport = (call: Call, request: Buffer) => () => {
        const status = faultOf(call, 'firmware-status')?.status
        if (status !== undefined) return reportResponse(status)
        return firmware.report(request, {
            wrongNonce: faultOf(call, 'wrong-nonce') !== undefined,
            badSignature: faultOf(call, 'bad-signature') !== undefined,
        })
    }

    // get_ext_report: if the host's table does not fit, the driver sends the plain request after all, so that its
    // sequence number is used up, and then says how much it needs. The message key stays.
    function sendExtended(call: Call, request: Buffer, capacity: number): Sent & { table: Buffer } {
        const held = faultOf(call, 'no-certificates') ? Buffer.alloc(0) : table
        const needed = Math.ceil((faultOf(call, 'short-buffer')?.size ?? held.length) / PAGE_SIZE) * PAGE_SIZE
        const sent = send(call, askReport(call, request))
        if (sent.errno || needed <= capacity) return { ...sent, table: held }
        return { ...sent, errno: 'EIO', fwError: 0, vmmError: VMM_ERROR.invalidLength, table: held, needed }
    }

    const requests: Readonly<Record<number, { name: string; run: Run }>> = {
        [SNP_IOCTL.getReport]: {
            name: 'getReport',
            run(call, { reqData, respData }, memory) {
                const sent = send(call, askReport(call, memory.read(reqData, REPORT_REQ.size)))
                if (!sent.errno) memory.write(respData, sent.response)
                return sent
            },
        },
        [SNP_IOCTL.getDerivedKey]: {
            name: 'getDerivedKey',
            run(call, { reqData, respData }, memory) {
                const request = memory.read(reqData, DERIVED_KEY_REQ.size)
                const status = faultOf(call, 'firmware-status')?.status
                const sent = send(call, () =>
                    status === undefined ? firmware.derivedKey(request) : keyResponse(status),
                )
                if (!sent.errno) memory.write(respData, sent.response)
                return sent
            },
        },
        [SNP_IOCTL.getExtReport]: {
            name: 'getExtReport',
            run(call, { reqData, respData }, memory) {
                const request = memory.read(reqData, EXT_REPORT_REQ.size)
                const address = request.readBigUInt64LE(EXT_REPORT_REQ.fields.certsAddress.offset)
                const lengthAt = EXT_REPORT_REQ.fields.certsLen.offset
                const length = request.readUInt32LE(lengthAt)
                const wanted = length > 0 && address > 0n
                if (wanted && (length > MAX_CERTIFICATES || length % PAGE_SIZE !== 0))
                    return { errno: 'EINVAL', ...NO_CALL, response: NOTHING, delayMs: 0, commit: () => undefined }
                const capacity = wanted ? length : 0
                const sent = sendExtended(call, request.subarray(0, REPORT_REQ.size), capacity)
                if (sent.needed !== undefined) {
                    request.writeUInt32LE(sent.needed, lengthAt)
                    memory.write(reqData, request)
                }
                if (sent.errno) return sent
                const certificates = Buffer.alloc(capacity)
                sent.table.copy(certificates)
                if (capacity > 0) memory.write(address, certificates)
                memory.write(respData, sent.response)
                return sent
            },
        },
    }

    return {
        devices: {
            'sev-guest': {
                mode: 0o600,
                requests: Object.fromEntries(Object.entries(requests).map(([number, { name }]) => [number, name])),
                ioctl(call, memory) {
                    const found = requests[call.request]
                    if (!found) return { errno: 'ENOTTY' }
                    const raw = memory.read(call.argument, GUEST_REQUEST.size)
                    const argument = GUEST_REQUEST.parse(raw.fill(0, 1, 8)) // nobody looks at the padding
                    if (argument.msgVersion === 0) return { errno: 'EINVAL' }
                    const missing = argument.reqData === 0n || argument.respData === 0n
                    const sent: Answer & Words = missing
                        ? { errno: 'EINVAL', ...NO_CALL }
                        : found.run(call, argument, memory)
                    // The driver leaves the words of the caller as they are where all is well.
                    if (sent.fwError || sent.vmmError) memory.write(call.argument + EXITINFO2, words(sent))
                    return sent
                },
            },
        },
        tsm: {
            name: 'sev_guest',
            privlevelFloor: vmpl,
            hasAuxblob: true,
            report({ inblob, privlevel, ...call }) {
                if (inblob.length !== 64) return { errno: 'EINVAL', ...NO_BLOBS }
                const request = REPORT_REQ.encode({ userData: inblob, vmpl: privlevel })
                const {
                    errno,
                    response,
                    table: auxblob,
                    delayMs,
                    commit,
                } = sendExtended(call, request, MAX_CERTIFICATES)
                const status = response.length > 0 ? response.readUInt32LE(0) : 0
                const refused = REQUEST_REFUSED.includes(status) ? 'EINVAL' : 'ENXIO'
                if (errno || status) return { errno: errno ?? refused, delayMs, commit, ...NO_BLOBS }
                const outblob = response.subarray(32, 32 + response.readUInt32LE(4))
                return { outblob, auxblob: usedPart(auxblob), delayMs, commit }
            },
        },
    }
}

interface Words {
    readonly fwError: number
    readonly vmmError: number
}

/** How a message to the firmware ended. */
interface Sent extends Words {
    readonly errno?: ErrnoName
    readonly response: Buffer
    readonly delayMs: number
    readonly commit: () => void
    /** How large the buffer for the certificate table has to be. */
    readonly needed?: number
}

type Argument = ReturnType<typeof GUEST_REQUEST.parse>
type Run = (call: Call, argument: Argument, memory: UserMem) => Sent

const NOTHING = Buffer.alloc(0)
const NO_BLOBS = { outblob: NOTHING, auxblob: NOTHING } as const

function words({ fwError, vmmError }: Words): Buffer {
    const out = Buffer.alloc(8)
    out.writeUInt32LE(fwError, 0)
    out.writeUInt32LE(vmmError, 4)
    return out
}

// The kernel cuts the table at the end of its last entry.
function usedPart(table: Buffer): Buffer {
    const entries = parseCertTable(table)
    const header = 24 * (entries.length + 1)
    return entries.length === 0
        ? NOTHING
        : table.subarray(
              0,
              entries.reduce((sum, { data }) => sum + data.length, header),
          )
}
