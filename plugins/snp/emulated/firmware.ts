// The firmware of an emulated chip: answers a guest's messages, and signs its reports with the chip's VCEK.
// AMD 56860 (SEV-SNP Firmware ABI) rev 1.58, §7.2 (keys), §7.3 (reports). Pure but for the signature's randomness.
// SPDX-License-Identifier: Apache-2.0

import { hkdfSync, sign } from 'node:crypto'
import { isZero } from '#core/bytes.ts'
import { firmwareStatus } from '#drivers/linux/sev-firmware.ts'
import {
    DERIVED_KEY_REQ,
    DERIVED_KEY_RESP_HEADER,
    DERIVED_KEY_RESP_SIZE,
    REPORT_REQ,
    REPORT_RESP_HEADER,
    REPORT_RESP_SIZE,
} from '#drivers/linux/sev-guest.ts'
import { GENERATIONS, type Generation } from '../generations.ts'
import { KEY_FIELDS } from '../key-fields.ts'
import { ECDSA_P384_SHA384, encodeReport, MAX_VMPL, SIGNED_SIZE } from '../report.ts'
import { writeTcb } from '../tcb.ts'
import type { EmulatedVendor } from './vendor.ts'

/** What the launch of a guest fixes. */
export interface Launch {
    readonly measurement: Buffer
    readonly hostData: Buffer
    readonly policy: bigint
    /** The level that the guest's kernel runs at. */
    readonly vmpl: number
    /** REPORT_ID: another one for each launch. */
    readonly reportId: Buffer
}

/** What a fault can make of a report. */
export interface Tampering {
    readonly wrongNonce?: boolean
    readonly badSignature?: boolean
}

export interface Firmware {
    /** MSG_REPORT_REQ → MSG_REPORT_RSP. */
    report(request: Buffer, tampering?: Tampering): Buffer
    /** MSG_KEY_REQ → MSG_KEY_RSP. */
    derivedKey(request: Buffer): Buffer
}

/** The statuses that the firmware gives by itself. */
const SUCCESS = 0
const INVALID_PARAM = firmwareStatus('INVALID_PARAM')

/** What version 1 of the message knows, the only one that Linux sends. */
const KNOWN_FIELDS = Object.values(KEY_FIELDS).reduce((word, { bit }) => word | bit, 0n)

/** No ID block was given at launch: identities are zero, and so is GUEST_SVN. */
const GUEST_SVN = 0

export function emulatedFirmware(vendor: EmulatedVendor, launch: Launch): Firmware {
    const generation: Generation = GENERATIONS[vendor.generation]
    const tcb = writeTcb(generation.line, generation.tcb)
    const levelAllowed = (vmpl: number) => vmpl >= launch.vmpl && vmpl <= MAX_VMPL

    return {
        report(request, { wrongNonce = false, badSignature = false } = {}) {
            if (!isZero(request.subarray(68))) return reportResponse(INVALID_PARAM)
            const { userData, vmpl } = REPORT_REQ.parse(request)
            if (!levelAllowed(vmpl)) return reportResponse(INVALID_PARAM)
            if (wrongNonce) flip(userData)
            const report = signed(unsignedReport(generation, tcb, vendor, launch, userData, vmpl), vendor)
            if (badSignature) flip(report.subarray(SIGNED_SIZE))
            return reportResponse(SUCCESS, report)
        },
        derivedKey(request) {
            if (!isZero(request.subarray(4, 8))) return keyResponse(INVALID_PARAM)
            const { rootKeySelect, guestFieldSelect, vmpl, guestSvn, tcbVersion } = DERIVED_KEY_REQ.parse(request)
            const partsBelow = [0n, 8n, 16n, 24n, 32n, 40n, 48n, 56n].every(
                (shift) => ((tcbVersion >> shift) & 0xffn) <= ((tcb >> shift) & 0xffn),
            )
            if (rootKeySelect > 1 || guestFieldSelect & ~KNOWN_FIELDS || !levelAllowed(vmpl) || guestSvn > GUEST_SVN)
                return keyResponse(INVALID_PARAM)
            if (!partsBelow) return keyResponse(INVALID_PARAM)
            // Root key 1, the VMRK, is another one for each launch where no migration agent brings it.
            const root = rootKeySelect === 1 ? Buffer.concat([vendor.secret, launch.reportId]) : vendor.secret
            const pick = (field: keyof typeof KEY_FIELDS, value: Buffer) =>
                guestFieldSelect & KEY_FIELDS[field].bit ? value : Buffer.alloc(value.length)
            const context = Buffer.concat([
                word(guestFieldSelect),
                word(BigInt(vmpl)),
                pick('policy', word(launch.policy)),
                pick('imageId', Buffer.alloc(16)),
                pick('familyId', Buffer.alloc(16)),
                pick('measurement', launch.measurement),
                pick('guestSvn', word(BigInt(guestSvn))),
                pick('tcbVersion', word(tcbVersion)),
            ])
            return keyResponse(SUCCESS, Buffer.from(hkdfSync('sha256', root, Buffer.alloc(0), context, 32)))
        },
    }
}

/** A response that carries a status and nothing else: what a firmware that refuses sends. */
export function reportResponse(status: number, report: Buffer = Buffer.alloc(0)): Buffer {
    return padded([REPORT_RESP_HEADER.encode({ status, reportSize: report.length }), report], REPORT_RESP_SIZE)
}

export function keyResponse(status: number, key: Buffer = Buffer.alloc(0)): Buffer {
    return padded([DERIVED_KEY_RESP_HEADER.encode({ status }), key], DERIVED_KEY_RESP_SIZE)
}

function unsignedReport(
    { reportVersion: version, cpuid, firmware, platformInfo, mitigations }: Generation,
    tcb: bigint,
    { chipId }: EmulatedVendor,
    launch: Launch,
    reportData: Buffer,
    vmpl: number,
): Buffer {
    return encodeReport({
        version,
        guestSvn: GUEST_SVN,
        policy: launch.policy,
        familyId: Buffer.alloc(16),
        imageId: Buffer.alloc(16),
        vmpl,
        signatureAlgo: ECDSA_P384_SHA384,
        currentTcb: tcb,
        platformInfo,
        keyInfo: 0, // VCEK, no author key, the chip's name not masked
        reportData,
        measurement: launch.measurement,
        hostData: launch.hostData,
        idKeyDigest: Buffer.alloc(48),
        authorKeyDigest: Buffer.alloc(48),
        reportId: launch.reportId,
        reportIdMa: Buffer.alloc(32, 0xff),
        reportedTcb: tcb,
        cpuidFamily: cpuid.family,
        cpuidModel: cpuid.model,
        cpuidStepping: cpuid.stepping,
        chipId,
        committedTcb: tcb,
        currentVersion: firmware,
        committedVersion: firmware,
        launchTcb: tcb,
        ...(version === 5 && { launchMitVector: mitigations, currentMitVector: mitigations }),
        signatureR: Buffer.alloc(72),
        signatureS: Buffer.alloc(72),
    })
}

// R and S stand little-endian in 72 bytes each.
function signed(report: Buffer, { signingKey }: EmulatedVendor): Buffer {
    const body = report.subarray(0, SIGNED_SIZE)
    const signature = sign('sha384', body, { key: signingKey, dsaEncoding: 'ieee-p1363' })
    signature.subarray(0, 48).reverse().copy(report, SIGNED_SIZE)
    signature
        .subarray(48)
        .reverse()
        .copy(report, SIGNED_SIZE + 72)
    return report
}

function flip(bytes: Buffer): void {
    bytes[0] = (bytes[0] ?? 0) ^ 1
}

function word(value: bigint): Buffer {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(value)
    return bytes
}

function padded(parts: readonly Buffer[], size: number): Buffer {
    const out = Buffer.alloc(size)
    Buffer.concat(parts).copy(out)
    return out
}
