// The TDX module and the quoting enclave of an emulated platform: TDREPORTs with a MAC that no other platform makes,
// the registers of one TD, and quotes of its reports. Intel TDX Module 1.5 ABI (TDG.MR.REPORT, TDG.MR.RTMR.EXTEND).
// Pure but for the randomness of signatures: whoever changes a register says when.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createHmac } from 'node:crypto'
import { equalBytes } from '#core/bytes.ts'
import { TD_REPORT_SIZE } from '#drivers/linux/tdx-forms.ts'
import { defaultBody, mintQuote } from '../mint/quote.ts'
import { type BodyType, parseQuote, type TdBody } from '../quote.ts'
import { REPORT_TYPE_TDX, TD_REPORT } from './td-report.ts'
import type { EmulatedVendor } from './vendor.ts'

export type Registers = TdBody['rtmrs']

/** What the launch of a TD fixes, and what its quotes look like. */
export interface Launch {
    readonly mrTd: Buffer
    readonly mrConfigId: Buffer
    readonly mrOwner: Buffer
    readonly mrOwnerConfig: Buffer
    readonly tdAttributes: bigint
    readonly xfam: bigint
    /** As the firmware has left them. */
    readonly rtmrs: Registers
    /** The module that launched it, and the one that runs now. */
    readonly teeTcbSvn: Buffer
    readonly teeTcbSvn2: Buffer
    readonly quoteVersion: 4 | 5
    readonly bodyType: BodyType
}

/** What a fault can make of a quote. */
export interface Tampering {
    readonly wrongNonce?: boolean
    readonly badSignature?: boolean
}

export interface TdxModule {
    readonly launch: Launch
    registers(): Registers
    /** What the registers would be. */
    extended(index: number, digest: Buffer): Registers
    setRegisters(rtmrs: Registers): void
    /** A TDREPORT with these registers, or with those of now. */
    report(reportData: Buffer, rtmrs?: Registers): Buffer
    /** A quote of a TDREPORT; null where no TD of this platform has it. */
    quote(report: Buffer, tampering?: Tampering): Buffer | null
}

/** Where the MAC stands, and what it is of. */
const MAC_OFFSET = 224
const TCB_INFO = { start: 256, end: 495 } as const
const TD_INFO = { start: 512, end: TD_REPORT_SIZE } as const

/** Which members of TEE_TCB_INFO a module of TDX 1.5 fills. */
const VALID = 0x301ffn

/** Between what is signed and the signature stands the size of the signature data. */
const SIZE_OF_SIZE = 4

export function tdxModule(vendor: EmulatedVendor, launch: Launch): TdxModule {
    let current = launch.rtmrs
    const { mrSeam, mrSignerSeam, seamAttributes } = defaultBody(2)
    const macOf = (report: Buffer) =>
        createHmac('sha256', vendor.secret).update(report.subarray(0, MAC_OFFSET)).digest()

    return {
        launch,
        registers: () => current,
        extended(index, digest) {
            const next = current.map((value, at) => (at === index ? sha384(value, digest) : value))
            return next as unknown as Registers
        },
        setRegisters(rtmrs) {
            current = rtmrs
        },
        report(reportData, [rtmr0, rtmr1, rtmr2, rtmr3] = current) {
            const { mrTd, mrConfigId, mrOwner, mrOwnerConfig, xfam } = launch
            const report = TD_REPORT.encode({
                mac: {
                    type: REPORT_TYPE_TDX,
                    subtype: 0,
                    version: 0,
                    cpuSvn: vendor.platform.cpuSvn,
                    teeTcbInfoHash: Buffer.alloc(48),
                    teeInfoHash: Buffer.alloc(48),
                    reportData,
                    mac: Buffer.alloc(32),
                },
                tcb: {
                    valid: VALID,
                    teeTcbSvn: launch.teeTcbSvn,
                    mrSeam,
                    mrSignerSeam,
                    attributes: seamAttributes,
                    teeTcbSvn2: launch.teeTcbSvn2,
                },
                td: {
                    ...{ mrTd, mrConfigId, mrOwner, mrOwnerConfig, xfam, rtmr0, rtmr1, rtmr2, rtmr3 },
                    attributes: launch.tdAttributes,
                    servTdHash: Buffer.alloc(48),
                    extension: Buffer.alloc(64),
                },
            })
            sha384(report.subarray(TCB_INFO.start, TCB_INFO.end)).copy(report, 32)
            sha384(report.subarray(TD_INFO.start, TD_INFO.end)).copy(report, 80)
            macOf(report).copy(report, MAC_OFFSET)
            return report
        },
        quote(report, { wrongNonce = false, badSignature = false } = {}) {
            if (report.length !== TD_REPORT_SIZE || !isOurs(report, macOf(report))) return null
            const { mac, tcb, td } = TD_REPORT.parse(report)
            const { bodyType, quoteVersion: version } = launch
            const { rtmr0, rtmr1, rtmr2, rtmr3 } = td
            const reportData = wrongNonce ? flipped(mac.reportData, 0) : mac.reportData
            const quote = mintQuote(vendor, {
                version,
                bodyType,
                body: {
                    teeTcbSvn: tcb.teeTcbSvn,
                    mrSeam: tcb.mrSeam,
                    mrSignerSeam: tcb.mrSignerSeam,
                    seamAttributes: tcb.attributes,
                    tdAttributes: td.attributes,
                    xfam: td.xfam,
                    mrTd: td.mrTd,
                    mrConfigId: td.mrConfigId,
                    mrOwner: td.mrOwner,
                    mrOwnerConfig: td.mrOwnerConfig,
                    rtmrs: [rtmr0, rtmr1, rtmr2, rtmr3],
                    reportData,
                    ...(bodyType > 2 && { teeTcbSvn2: tcb.teeTcbSvn2, mrServiceTd: td.servTdHash }),
                },
            })
            return badSignature ? flipped(quote, parseQuote(quote).signedSize + SIZE_OF_SIZE) : quote
        },
    }
}

// The MAC is of the hashes, and they are of what follows.
function isOurs(report: Buffer, mac: Buffer): boolean {
    const tcb = sha384(report.subarray(TCB_INFO.start, TCB_INFO.end))
    const td = sha384(report.subarray(TD_INFO.start, TD_INFO.end))
    return (
        equalBytes(report.subarray(MAC_OFFSET, MAC_OFFSET + mac.length), mac) &&
        equalBytes(report.subarray(32, 80), tcb) &&
        equalBytes(report.subarray(80, 128), td)
    )
}

function sha384(...parts: readonly Buffer[]): Buffer {
    const hash = createHash('sha384')
    for (const part of parts) hash.update(part)
    return hash.digest()
}

function flipped(bytes: Buffer, at: number): Buffer {
    const out = Buffer.from(bytes)
    out[at] = (out[at] ?? 0) ^ 1
    return out
}
