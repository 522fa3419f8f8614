// The quote of a TD. Intel TDX DCAP Quoting Library API rev 0.9, appendix 3 (versions 4 and 5), Intel SGX DCAP ECDSA
// Quote Library API rev 1.14, appendix A.4 (certification data, and the report of an enclave). Little-endian; keys and
// signatures are big-endian. Done: attestation key type 2, bodies 2 to 4 (TDX 1.0, 1.5, 1.5 extended), a QE report
// certified by a PEM chain (quote-encode.ts writes them). Refused by name: version 3 and body 1 (SGX), and the
// certifications that name no chain.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import { bytes, ignored, layout, type Parsed, u16, u32, u64 } from '#core/layout.ts'
import { tdxError } from './errors.ts'

/** What nobody needs more than: real quotes have 5 KiB, and Linux gives no more. */
export const MAX_QUOTE_SIZE = 128 << 10

/** ECDSA on P-256 with SHA-256: the only key that Intel's quoting enclave makes. */
export const ECDSA_P256 = 2

export const TEE_TYPE_SGX = 0
export const TEE_TYPE_TDX = 0x81

/** Intel's, as the vendor of the quoting enclave. */
export const INTEL_QE_VENDOR = Buffer.from('939a7233f79c4ca9940a0db3957f0607', 'hex')

/** The size of an enclave's report, which the PCK signs. */
export const QE_REPORT_SIZE = 384

/** The header, the same in versions 4 and 5. */
export const HEADER = layout('quote header', 48, {
    version: u16(0),
    attestationKeyType: u16(2),
    teeType: u32(4),
    // Reserved; the SVNs of QE and PCE in version 3 and in early descriptions of version 4.
    reserved8: ignored(8, 4),
    qeVendorId: bytes(12, 16),
    userData: bytes(28, 20),
})

// What every body has in common.
const TD_1_0 = {
    teeTcbSvn: bytes(0, 16),
    mrSeam: bytes(16, 48),
    mrSignerSeam: bytes(64, 48),
    seamAttributes: u64(112),
    tdAttributes: u64(120),
    xfam: u64(128),
    mrTd: bytes(136, 48),
    mrConfigId: bytes(184, 48),
    mrOwner: bytes(232, 48),
    mrOwnerConfig: bytes(280, 48),
    rtmr0: bytes(328, 48),
    rtmr1: bytes(376, 48),
    rtmr2: bytes(424, 48),
    rtmr3: bytes(472, 48),
    reportData: bytes(520, 64),
} as const

const TD_1_5 = { ...TD_1_0, teeTcbSvn2: bytes(584, 16), mrServiceTd: bytes(600, 48) } as const

/** The bodies, by their type. */
export const BODIES = {
    2: layout('TD body 1.0', 584, TD_1_0),
    3: layout('TD body 1.5', 648, TD_1_5),
    4: layout('TD body 1.5 extended', 885, { ...TD_1_5, extended: bytes(648, 237) }),
} as const

/** By type: 2 TDX 1.0, 3 TDX 1.5, 4 TDX 1.5 extended. */
export type BodyType = keyof typeof BODIES

/** The report of an enclave (SGX): what the PCK signs of the quoting enclave. */
export const QE_REPORT = layout('QE report', QE_REPORT_SIZE, {
    cpuSvn: bytes(0, 16),
    miscSelect: u32(16),
    reserved20: ignored(20, 28),
    attributes: bytes(48, 16),
    mrEnclave: bytes(64, 32),
    reserved96: ignored(96, 32),
    mrSigner: bytes(128, 32),
    reserved160: ignored(160, 96),
    isvProdId: u16(256),
    isvSvn: u16(258),
    reserved260: ignored(260, 60),
    reportData: bytes(320, 64),
})

export type QeReport = Parsed<typeof QE_REPORT.fields>

/** What is said of a TD; what its body type lacks is absent. */
export interface TdBody {
    readonly teeTcbSvn: Buffer
    readonly mrSeam: Buffer
    readonly mrSignerSeam: Buffer
    readonly seamAttributes: bigint
    readonly tdAttributes: bigint
    readonly xfam: bigint
    readonly mrTd: Buffer
    readonly mrConfigId: Buffer
    readonly mrOwner: Buffer
    readonly mrOwnerConfig: Buffer
    readonly rtmrs: readonly [Buffer, Buffer, Buffer, Buffer]
    readonly reportData: Buffer
    /** The module as it is now, where `teeTcbSvn` is the one that launched the TD. Types 3 and 4. */
    readonly teeTcbSvn2?: Buffer
    readonly mrServiceTd?: Buffer
    /** Type 4: 237 bytes, of which nothing is judged. */
    readonly extended?: Buffer
}

export type QuoteHeader = Parsed<typeof HEADER.fields>

/** What a quote is made of. */
export interface QuoteParts {
    readonly header: QuoteHeader
    readonly bodyType: BodyType
    readonly body: TdBody
    /** By the attestation key: r and s, 32 bytes each. */
    readonly signature: Buffer
    /** x and y, 32 bytes each, on P-256. */
    readonly attestationKey: Buffer
    readonly qeReport: Buffer
    /** By the PCK. */
    readonly qeReportSignature: Buffer
    readonly authData: Buffer
    /** The inner certification data; type 5 is a PEM chain. */
    readonly certification: { readonly type: number; readonly data: Buffer }
}

export interface Quote extends QuoteParts {
    readonly version: 4 | 5
    /** How many bytes from the start the attestation key signed. */
    readonly signedSize: number
    /** Where the quote ends. What is behind it is padding, or anything: nobody signed it. */
    readonly size: number
}

/** The inner certification of a PEM chain: PCK, its CA, the root. */
export const PEM_CHAIN = 5

/** The outer certification: a QE report, and what certifies the key that signed it. */
export const QE_REPORT_CERTIFICATION = 6

/**
 * One quote. Bytes beyond its end are ignored; signatures are not looked at.
 * @throws AttestError ERR_TDX_QUOTE, ERR_TDX_CERTIFICATION
 */
export function parseQuote(raw: Uint8Array): Quote {
    if (raw.length > MAX_QUOTE_SIZE)
        throw tdxError('ERR_TDX_QUOTE', `a quote has at most ${MAX_QUOTE_SIZE} bytes, got ${raw.length}`)
    const cursor = cursorOf(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength))
    const header = HEADER.parse(cursor.take(HEADER.size, 'header'))
    const version = checkHeader(header)
    const bodyType = version === 4 ? 2 : checkBodyType(cursor.u16('body type'), cursor.u32('body size'))
    const body = bodyOf(bodyType, cursor.take(BODIES[bodyType].size, 'body'))
    const signedSize = cursor.at()

    const signatureData = cursor.within(cursor.u32('size of the signature data'), 'signature data')
    const signature = signatureData.copy(64, 'signature')
    const attestationKey = signatureData.copy(64, 'attestation key')
    const outer = signatureData.u16('type of the certification data')
    if (outer !== QE_REPORT_CERTIFICATION)
        throw tdxError(
            'ERR_TDX_CERTIFICATION',
            `certification data: expected type ${QE_REPORT_CERTIFICATION} (a QE report), got ${named(outer)}`,
        )
    const certified = signatureData.within(signatureData.u32('size of the certification data'), 'certification data')
    const qeReport = certified.copy(QE_REPORT_SIZE, 'QE report')
    const qeReportSignature = certified.copy(64, 'signature of the QE report')
    const authData = certified.copy(certified.u16('size of the authentication data'), 'authentication data')
    const type = certified.u16("type of the PCK's certification data")
    const data = certified.copy(certified.u32("size of the PCK's certification data"), "PCK's certification data")
    certified.end()
    signatureData.end()
    if (type !== PEM_CHAIN)
        throw tdxError(
            'ERR_TDX_CERTIFICATION',
            `the PCK's certification data: expected type ${PEM_CHAIN} (PEM certificates), got ${named(type)}`,
            { hint: 'the host gave no certificates: its quoting service has no PCK cached or no collateral service' },
        )
    return {
        version,
        header,
        bodyType,
        body,
        signedSize,
        signature,
        attestationKey,
        qeReport,
        qeReportSignature,
        authData,
        certification: { type, data },
        size: cursor.at(),
    }
}

const CERTIFICATIONS: Readonly<Record<number, string>> = {
    1: 'a PPID in the clear',
    2: 'a PPID encrypted with RSA-2048',
    3: 'a PPID encrypted with RSA-3072',
    4: 'the PCK certificate alone',
    5: 'PEM certificates',
    6: 'a QE report',
    7: 'a platform manifest',
}

const named = (type: number): string => (CERTIFICATIONS[type] ? `${type} (${CERTIFICATIONS[type]})` : `${type}`)

function checkHeader({ version, attestationKeyType, teeType, qeVendorId }: QuoteHeader): 4 | 5 {
    const refuse = (text: string) => tdxError('ERR_TDX_QUOTE', text)
    if (version === 3) throw refuse('version 3 is the quote of an SGX enclave, not of a TD: expected 4 or 5')
    if (version !== 4 && version !== 5) throw refuse(`version ${version} is not supported: expected 4 or 5`)
    if (attestationKeyType !== ECDSA_P256)
        throw refuse(`attestation key type: expected ${ECDSA_P256} (ECDSA P-256), got ${attestationKeyType}`)
    if (teeType === TEE_TYPE_SGX) throw refuse('TEE type 0 is an SGX enclave, not a TD')
    if (teeType !== TEE_TYPE_TDX)
        throw refuse(`TEE type: expected 0x${TEE_TYPE_TDX.toString(16)} (TDX), got 0x${teeType.toString(16)}`)
    if (!qeVendorId.equals(INTEL_QE_VENDOR))
        throw refuse(`QE vendor: expected ${toHex(INTEL_QE_VENDOR)} (Intel), got ${toHex(qeVendorId)}`)
    return version
}

function checkBodyType(type: number, size: number): BodyType {
    if (type === 1) throw tdxError('ERR_TDX_QUOTE', 'body type 1 is the report of an SGX enclave, not of a TD')
    const body = BODIES[type as BodyType]
    if (body === undefined)
        throw tdxError('ERR_TDX_QUOTE', `body type ${type} is not supported: expected ${Object.keys(BODIES)}`)
    if (size !== body.size)
        throw tdxError('ERR_TDX_QUOTE', `body type ${type} has ${body.size} bytes, the quote says ${size}`)
    return type as BodyType
}

function bodyOf(type: BodyType, raw: Buffer): TdBody {
    const { rtmr0, rtmr1, rtmr2, rtmr3, ...rest } = BODIES[type].parse(raw)
    return { ...rest, rtmrs: [rtmr0, rtmr1, rtmr2, rtmr3] }
}

/** Reads forward, within what is there. */
function cursorOf(all: Buffer, start = 0, end = all.length) {
    let at = start
    function take(size: number, name: string): Buffer {
        if (size > end - at)
            throw tdxError('ERR_TDX_QUOTE', `${name}: expected ${size} bytes at ${at}, where ${end - at} are left`)
        at += size
        return all.subarray(at - size, at)
    }
    return {
        take,
        at: () => at,
        copy: (size: number, name: string) => Buffer.from(take(size, name)),
        u16: (name: string) => take(2, name).readUInt16LE(0),
        u32: (name: string) => take(4, name).readUInt32LE(0),
        within(size: number, name: string) {
            take(size, name)
            return cursorOf(all, at - size, at)
        },
        end() {
            if (at !== end) throw tdxError('ERR_TDX_QUOTE', `${end - at} bytes at ${at} belong to nothing`)
        },
    }
}
