// The certificate of the key that signed a report: VCEK (a chip's) or VLEK (a cloud provider's), and its extensions.
// AMD 57230 (VCEK Certificate and KDS Interface) rev 1.05, §3.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { type Certificate, derInteger, derOctets, derText } from '#core/x509.ts'
import { snpError } from './errors.ts'
import { isProductLine, PRODUCT_LINES, type ProductLineName, type Tcb, type TcbPart, tcbParts } from './tcb.ts'

export type VekKind = 'VCEK' | 'VLEK'

export interface Vek {
    readonly kind: VekKind
    readonly certificate: Certificate
    readonly line: ProductLineName
    /** `Milan-B0`; the line alone on VLEKs and on newer VCEKs. */
    readonly productName: string
    readonly tcb: Tcb
    /** The chip that it is for: 64 bytes, 8 on Turin. VCEK only. */
    readonly hwId: Buffer | null
    /** The cloud provider that it is for. VLEK only. */
    readonly cspId: string | null
    readonly emulated: boolean
}

/** By subject. AMD's own text calls them VCEK and VLEK. */
export const VEK_SUBJECTS: Readonly<Record<string, VekKind>> = { 'SEV-VCEK': 'VCEK', 'SEV-VLEK': 'VLEK' }

const ARC = '1.3.6.1.4.1.3704.1'

export const VEK_OIDS = {
    structVersion: `${ARC}.1`,
    productName: `${ARC}.2`,
    bootLoader: `${ARC}.3.1`,
    tee: `${ARC}.3.2`,
    snp: `${ARC}.3.3`,
    microcode: `${ARC}.3.8`,
    fmc: `${ARC}.3.9`,
    hwId: `${ARC}.4`,
    cspId: `${ARC}.5`,
} as const satisfies Record<TcbPart | 'structVersion' | 'productName' | 'hwId' | 'cspId', string>

/** @throws AttestError ERR_SNP_VEK_KIND, ERR_SNP_VEK_EXTENSION, ERR_SNP_PRODUCT_LINE */
export function readVek(certificate: Certificate): Vek {
    const { subjectCn, extensions } = certificate
    const kind = VEK_SUBJECTS[subjectCn]
    if (!kind)
        throw snpError(
            'ERR_SNP_VEK_KIND',
            `expected the certificate of an SEV-VCEK or SEV-VLEK, got ${JSON.stringify(subjectCn)}`,
        )
    const get = (name: keyof typeof VEK_OIDS): Buffer => {
        const value = extensions.get(VEK_OIDS[name])
        if (value) return value
        throw snpError('ERR_SNP_VEK_EXTENSION', `${subjectCn}: the extension ${name} (${VEK_OIDS[name]}) is missing`)
    }
    const productName = derText(get('productName'), `${subjectCn} productName`)
    const line = productName.split('-')[0] ?? ''
    if (!isProductLine(line))
        throw snpError(
            'ERR_SNP_PRODUCT_LINE',
            `${subjectCn}: the product line ${JSON.stringify(productName)} is not known`,
        )
    const { structVersion, chipIdSize } = PRODUCT_LINES[line]
    const version = derInteger(get('structVersion'), `${subjectCn} structVersion`)
    if (version !== structVersion)
        throw snpError(
            'ERR_SNP_VEK_EXTENSION',
            `${subjectCn}: expected structVersion ${structVersion} for ${line}, got ${version}`,
        )
    return {
        kind,
        certificate,
        line,
        productName,
        tcb: Object.fromEntries(tcbParts(line).map((part) => [part, readSvn(get(part), part)])),
        ...readOwner(kind, extensions, chipIdSize),
        emulated: extensions.has(EMULATION_OID),
    }
}

/** What a cache may know a certificate by. */
export const fingerprint = (der: Buffer): string => hash('sha256', der, 'base64')

function readSvn(value: Buffer, part: TcbPart): number {
    const svn = derInteger(value, `VEK ${part}`)
    if (svn >= 0 && svn <= 255) return svn
    throw snpError('ERR_SNP_VEK_EXTENSION', `VEK ${part}: expected 0 to 255, got ${svn}`)
}

// A VCEK names its chip, a VLEK its provider; both or neither would be somebody's for everybody.
function readOwner(kind: VekKind, extensions: ReadonlyMap<string, Buffer>, chipIdSize: number) {
    const hwId = extensions.get(VEK_OIDS.hwId)
    const cspId = extensions.get(VEK_OIDS.cspId)
    if (kind === 'VCEK' && hwId && !cspId) return { hwId: readHwId(hwId, chipIdSize), cspId: null }
    if (kind === 'VLEK' && cspId && !hwId) return { hwId: null, cspId: derText(cspId, 'VLEK cspID') }
    throw snpError('ERR_SNP_VEK_EXTENSION', `${kind}: expected hwID on a VCEK or cspID on a VLEK, and not both`)
}

// The bytes stand in the extension as they are; some issuers wrap them into an OCTET STRING once more.
function readHwId(value: Buffer, size: number): Buffer {
    const bytes = value.length === size ? value : derOctets(value, 'VCEK hwID')
    if (bytes.length === size) return bytes
    throw snpError('ERR_SNP_VEK_EXTENSION', `VCEK hwID: expected ${size} bytes, got ${bytes.length}`)
}
