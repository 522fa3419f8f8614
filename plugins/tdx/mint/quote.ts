// What the quoting enclave of an emulated platform makes of a TD: quotes of versions 4 and 5, signed by its attestation
// key, which its PCK certifies. Intel TDX DCAP Quoting Library API, appendix 3.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createPublicKey, type KeyObject, sign } from 'node:crypto'
import { fromHex } from '#core/bytes.ts'
import { certificatePem } from '#core/mint.ts'
import {
    type BodyType,
    ECDSA_P256,
    INTEL_QE_VENDOR,
    PEM_CHAIN,
    QE_REPORT,
    type QeReport,
    type QuoteHeader,
    type TdBody,
    TEE_TYPE_TDX,
} from '../quote.ts'
import { encodeQuote, encodeSigned } from '../quote-encode.ts'
import { DEFAULT_PLATFORM, type MintedPlatform, type VendorCertificates, type VendorKeys } from './mint.ts'
import { DEFAULT_QE, STATUS_SVNS } from './statements.ts'

/** Who signs. */
export interface Quoter {
    readonly keys: Pick<VendorKeys, 'pck' | 'attestation'>
    readonly certificates: VendorCertificates
    readonly platform?: MintedPlatform
}

/** What of a quote is other than it would be. */
export interface QuoteChanges {
    /** 4 unless told. */
    readonly version?: 4 | 5
    /** 2 unless told; version 4 has no other. */
    readonly bodyType?: BodyType
    readonly header?: Partial<QuoteHeader>
    readonly body?: Partial<TdBody>
    /** Signed by the PCK as it is then. */
    readonly qeReport?: Partial<QeReport>
    readonly authData?: Buffer
    readonly certification?: { readonly type: number; readonly data: Buffer }
    /** The key that the quote names, where it is not the one that signs. */
    readonly attestationKey?: Buffer
}

/** TEE_TCB_SVN of a platform that is up to date: module SVN, module version, late microcode. */
export const DEFAULT_TCB_SVN: Buffer = tcbSvn({})

/** The attributes that TDs of today have: SEPT_VE_DISABLE. */
export const DEFAULT_TD_ATTRIBUTES = 1n << 28n

/** XFAM as clouds set it: x87, SSE, AVX, AVX-512, PKRU, AMX. */
export const DEFAULT_XFAM = 0x600e7n

export function tcbSvn({
    moduleSvn = 6,
    moduleVersion = 1,
    microcode = STATUS_SVNS.UpToDate,
}: {
    readonly moduleSvn?: number
    readonly moduleVersion?: number
    readonly microcode?: number
}): Buffer {
    const out = Buffer.alloc(16)
    out.set([moduleSvn, moduleVersion, microcode])
    return out
}

/** What is said of a TD that nobody described. */
export const defaultBody = (bodyType: BodyType): TdBody => ({
    teeTcbSvn: DEFAULT_TCB_SVN,
    mrSeam: createHash('sha384').update('guest-attest emulated module').digest(),
    mrSignerSeam: Buffer.alloc(48),
    seamAttributes: 0n,
    tdAttributes: DEFAULT_TD_ATTRIBUTES,
    xfam: DEFAULT_XFAM,
    mrTd: Buffer.alloc(48, 0x22),
    mrConfigId: Buffer.alloc(48),
    mrOwner: Buffer.alloc(48),
    mrOwnerConfig: Buffer.alloc(48),
    rtmrs: [Buffer.alloc(48), Buffer.alloc(48), Buffer.alloc(48), Buffer.alloc(48)],
    reportData: Buffer.alloc(64, 0x11),
    ...(bodyType > 2 && { teeTcbSvn2: DEFAULT_TCB_SVN, mrServiceTd: Buffer.alloc(48) }),
    ...(bodyType > 3 && { extended: Buffer.alloc(237) }),
})

/** A quote with these things changed, signed after that. */
export function mintQuote(
    { keys, certificates, platform = DEFAULT_PLATFORM }: Quoter,
    changes: QuoteChanges = {},
): Buffer {
    const { bodyType = 2, version = bodyType === 2 ? 4 : 5, authData = Buffer.from([...Array(32).keys()]) } = changes
    const signed = {
        header: {
            version,
            attestationKeyType: ECDSA_P256,
            teeType: TEE_TYPE_TDX,
            qeVendorId: INTEL_QE_VENDOR,
            userData: Buffer.alloc(20),
            ...changes.header,
        },
        bodyType,
        body: { ...defaultBody(bodyType), ...changes.body },
    }
    const attestationKey = changes.attestationKey ?? publicPoint(keys.attestation)
    const qeReport = QE_REPORT.encode({
        cpuSvn: platform.cpuSvn,
        miscSelect: Number.parseInt(DEFAULT_QE.miscselect, 16),
        attributes: fromHex(DEFAULT_QE.attributes, 'attributes'),
        mrEnclave: createHash('sha256').update('guest-attest emulated quoting enclave').digest(),
        mrSigner: fromHex(DEFAULT_QE.mrsigner, 'mrsigner'),
        isvProdId: DEFAULT_QE.isvprodid,
        isvSvn: DEFAULT_QE.tcbLevels[0]?.tcb.isvsvn ?? 0,
        reportData: Buffer.concat([
            createHash('sha256').update(attestationKey).update(authData).digest(),
            Buffer.alloc(32),
        ]),
        ...changes.qeReport,
    })
    return encodeQuote({
        ...signed,
        signature: signP256(encodeSigned(signed), keys.attestation),
        attestationKey,
        qeReport,
        qeReportSignature: signP256(qeReport, keys.pck),
        authData,
        certification: changes.certification ?? { type: PEM_CHAIN, data: pckChain(certificates) },
    })
}

/** PCK, its CA, the root, with the zero that real ones end with. */
export const pckChain = ({ pck, platform, root }: VendorCertificates): Buffer =>
    Buffer.from(`${[pck, platform, root].map(certificatePem).join('')}\0`)

/** r and s, 32 bytes each. */
export const signP256 = (bytes: Buffer, key: KeyObject): Buffer =>
    sign('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' })

/** x and y of a public key, 32 bytes each. */
export function publicPoint(key: KeyObject): Buffer {
    const { x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' })
    return Buffer.concat([Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
}
