// From a PCK certificate, or from the certificate that signs statements, to a root that is trusted.
// Intel SGX PCK Certificate and CRL Profile Specification, rev 1.5: root → Platform CA or Processor CA → PCK, and root
// → TCB Signing. The root is the built-in key, or those that the caller gave instead; what evidence brings can only
// lead to one.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, type KeyObject } from 'node:crypto'
import { equalBytes } from '#core/bytes.ts'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { type Certificate, derBits, outOfTime, parseCertificates } from '#core/x509.ts'
import type { NamedBytes, Trust } from '#evidence/verifier.ts'
import { tdxError } from './errors.ts'
import { PCK_CAS, PCK_CN, type Pck, readPck } from './pck.ts'
import { VENDOR_ROOT } from './roots.ts'

/** A key that may vouch for others, or for statements. */
export interface Authority {
    readonly cn: string
    /** In DER. */
    readonly name: Buffer
    readonly key: KeyObject
    readonly serial: string
    readonly notBefore: Date
    readonly notAfter: Date
    readonly emulated: boolean
}

/** What a root has signed: a CA of PCK certificates, or a key that signs statements. */
export interface Issued extends Authority {
    readonly root: Authority
    readonly certificate: Certificate
}

/** What a verifier trusts, and what helps it; read once. */
export interface Anchors {
    readonly custom: boolean
    readonly roots: readonly Authority[]
    readonly cas: readonly Issued[]
    /** Keys that sign TCB info and QE identity. */
    readonly signers: readonly Issued[]
}

/** A PCK certificate and those that vouch for it. */
export interface PckChain {
    readonly pck: Pck
    readonly key: KeyObject
    readonly ca: Issued
    /** Every known certificate of the CA's key, this one among them. */
    readonly twins: readonly Issued[]
}

const TCB_SIGNING_CN = 'Intel SGX TCB Signing'

const KEY_USAGE = '2.5.29.15'

/** In the first byte of KeyUsage (RFC 5280 §4.2.1.3). */
const DIGITAL_SIGNATURE = 0x80
const CERT_AND_CRL_SIGN = 0x06

/** PCK, CA, root. */
const MAX_CHAIN = 3

/** @throws AttestError ERR_CERTIFICATE, ERR_TDX_CHAIN */
export function readAnchors(
    trust: Pick<Trust, 'roots' | 'certificates'>,
    fromStatements: readonly Certificate[],
): Anchors {
    const roots = trust.roots ? trust.roots.flatMap(readRoots) : [BUILT_IN]
    if (roots.length === 0) throw tdxError('ERR_TDX_CHAIN', `none of the given roots is a root key of TDX (${ROOTS})`)
    const given = [
        ...trust.certificates.flatMap(({ name, bytes }) => parseCertificates(bytes, name)),
        ...fromStatements,
    ]
    return {
        custom: trust.roots !== undefined,
        roots,
        cas: given.flatMap((certificate) => caFrom(certificate, roots) ?? []),
        signers: given.flatMap((certificate) => signerFrom(certificate, roots) ?? []),
    }
}

/** What `readRoots` takes, for a person. */
export const ROOTS = `self-signed, named ${VENDOR_ROOT.cn}`

/** The root keys among the certificates of a file. @throws AttestError ERR_CERTIFICATE */
export function readRoots({ name, bytes }: NamedBytes): Authority[] {
    return parseCertificates(bytes, name)
        .filter(
            (certificate) =>
                certificate.subjectCn === VENDOR_ROOT.cn &&
                certificate.issuerCn === certificate.subjectCn &&
                isCa(certificate) &&
                signedBy(certificate, certificate.publicKey),
        )
        .map(authority)
}

/**
 * Reads the chains that quotes bring. The certificates above a PCK are the same in most of them, and are kept.
 * @returns reads one: PEM, of which the order does not matter, and zeros may follow.
 */
export function chainReader(anchors: Anchors) {
    /** By their PEM: a CA, or null for a root that is trusted. */
    const above = new Map<string, Issued | null>()

    function keep(block: string, ca: Issued | null): void {
        if (above.size >= MAX_KEPT) above.clear()
        above.set(block, ca)
    }

    /** @throws AttestError ERR_TDX_CERTIFICATION, ERR_TDX_CHAIN, ERR_TDX_PCK, ERR_CERTIFICATE */
    return function readChain(pem: Buffer): PckChain {
        const leaves: Certificate[] = []
        const brought: Issued[] = []
        for (const block of pemBlocks(pem)) {
            const known = above.get(block)
            if (known) brought.push(known)
            if (known !== undefined) continue
            const certificate = parseOne(block)
            if (certificate.subjectCn === PCK_CN) {
                leaves.push(certificate)
                continue
            }
            const ca = caFrom(certificate, anchors.roots)
            if (ca) brought.push(ca)
            else checkRoot(certificate, anchors)
            keep(block, ca)
        }
        const [leaf] = leaves
        if (!leaf || leaves.length > 1)
            throw tdxError('ERR_TDX_CHAIN', `the quote brings ${leaves.length} certificates of a PCK, expected one`)
        const pck = readPck(leaf)
        const cas = [...anchors.cas, ...brought]
        const ca = cas.find((ca) => equalBytes(ca.name, leaf.issuerName) && signedBy(leaf, ca.key))
        if (!ca)
            throw tdxError('ERR_TDX_CHAIN', `no ${leaf.issuerCn} that a trusted root vouches for has signed the PCK`, {
                hint: anchors.custom
                    ? undefined
                    : 'an emulated or a forged guest has another root: --trust-root names one',
            })
        if (leaf.x509.ca) throw tdxError('ERR_TDX_CHAIN', 'the certificate of the PCK is that of an authority')
        wantUsage(leaf, DIGITAL_SIGNATURE)
        return { pck, key: wantP256(leaf), ca, twins: cas.filter(({ key }) => key.equals(ca.key)) }
    }
}

const MAX_KEPT = 64

/** Whether any certificate of a chain is marked as an emulator's. */
export const isEmulated = ({ pck, ca }: Pick<PckChain, 'pck' | 'ca'>): boolean =>
    pck.emulated || ca.emulated || ca.root.emulated

/** Names what is out of its time. @throws AttestError ERR_TDX_TIME */
export function checkTime(title: string, validity: Pick<Authority, 'notBefore' | 'notAfter'>, at: Date): void {
    const wrong = outOfTime(title, validity, at)
    if (wrong !== null) throw tdxError('ERR_TDX_TIME', wrong)
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

function pemBlocks(pem: Buffer): string[] {
    const text = pem.toString('latin1')
    const blocks = text.match(PEM_CERTIFICATE) ?? []
    const rest = text.length - blocks.reduce((sum, { length }) => sum + length, 0)
    if (blocks.length === 0) throw tdxError('ERR_TDX_CERTIFICATION', 'the certificates of the quote are not PEM')
    if (blocks.length > MAX_CHAIN)
        throw tdxError('ERR_TDX_CHAIN', `the quote brings ${blocks.length} certificates, expected ${MAX_CHAIN}`)
    // Line ends between them, and the zero behind them.
    if (rest > 0 && !/^[\s\0]*$/.test(text.replaceAll(PEM_CERTIFICATE, '')))
        throw tdxError('ERR_TDX_CERTIFICATION', 'something stands between the certificates of the quote')
    return blocks
}

/** Certificates of a quote as bytes, in an order of their own: those that are written in another way are the same. */
export const chainBytes = (pem: Buffer): Buffer[] =>
    pemBlocks(pem)
        .map((block) => Buffer.from(block.replaceAll(/-----[A-Z ]+-----/g, ''), 'base64'))
        .toSorted(Buffer.compare)
        .filter((der, i, all) => i === 0 || !der.equals(all[i - 1] as Buffer))

function parseOne(block: string): Certificate {
    const [certificate] = parseCertificates(Buffer.from(block, 'latin1'), 'certificate of the quote')
    return certificate as Certificate
}

// What the quote brings beside PCK and CA can only be the root, and one that is trusted.
function checkRoot(certificate: Certificate, { roots }: Anchors): void {
    const { subjectCn, publicKey } = certificate
    if (roots.some(({ cn, key }) => cn === subjectCn && key.equals(publicKey))) return
    throw tdxError('ERR_TDX_CHAIN', `${JSON.stringify(subjectCn)}, which the quote brings, is not trusted`, {
        hint: 'an emulated or a forged guest has another root: --trust-root names one',
    })
}

// Null: no CA of PCK certificates, or none that one of these roots has signed.
function caFrom(certificate: Certificate, roots: readonly Authority[]): Issued | null {
    if (!Object.hasOwn(PCK_CAS, certificate.subjectCn) || !isCa(certificate)) return null
    return issuedFrom(certificate, roots)
}

// Null: no signer of statements, or none that one of these roots has signed.
function signerFrom(certificate: Certificate, roots: readonly Authority[]): Issued | null {
    if (certificate.subjectCn !== TCB_SIGNING_CN || certificate.x509.ca) return null
    if (!hasUsage(certificate, DIGITAL_SIGNATURE)) return null
    return issuedFrom(certificate, roots)
}

function issuedFrom(certificate: Certificate, roots: readonly Authority[]): Issued | null {
    const root = roots.find(({ cn, key }) => cn === certificate.issuerCn && signedBy(certificate, key))
    if (!root) return null
    wantP256(certificate)
    return { ...authority(certificate), root, certificate }
}

const isCa = (certificate: Certificate): boolean => certificate.x509.ca && hasUsage(certificate, CERT_AND_CRL_SIGN)

function hasUsage({ extensions }: Certificate, bits: number): boolean {
    const usage = extensions.get(KEY_USAGE)
    return usage !== undefined && ((derBits(usage, 'KeyUsage')[0] ?? 0) & bits) === bits
}

function wantUsage(certificate: Certificate, bits: number): void {
    if (!hasUsage(certificate, bits))
        throw tdxError('ERR_TDX_CHAIN', `the key of ${certificate.subjectCn} may not be used for this (KeyUsage)`)
}

function wantP256({ subjectCn, publicKey: key }: Certificate): KeyObject {
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
        throw tdxError('ERR_TDX_CHAIN', `the key of ${subjectCn} is not on P-256`)
    return key
}

const signedBy = ({ x509 }: Certificate, key: KeyObject): boolean => {
    try {
        return x509.verify(key)
    } catch {
        return false // a signature of another kind of key
    }
}

const authority = (certificate: Certificate): Authority => ({
    cn: certificate.subjectCn,
    name: certificate.subjectName,
    key: certificate.publicKey,
    serial: certificate.serial,
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    emulated: certificate.extensions.has(EMULATION_OID),
})

const BUILT_IN: Authority = {
    cn: VENDOR_ROOT.cn,
    name: Buffer.from(VENDOR_ROOT.name, 'hex'),
    key: createPublicKey({ key: { kty: 'EC', crv: 'P-256', x: VENDOR_ROOT.x, y: VENDOR_ROOT.y }, format: 'jwk' }),
    serial: VENDOR_ROOT.serial,
    notBefore: new Date(VENDOR_ROOT.notBefore),
    notAfter: new Date(VENDOR_ROOT.notAfter),
    emulated: false,
}
