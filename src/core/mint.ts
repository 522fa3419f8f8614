// Issues X.509 certificates and revocation lists (RFC 5280), through @peculiar/x509, which is loaded at the first one.
// SPDX-License-Identifier: Apache-2.0

import { type KeyObject, type webcrypto, X509Certificate } from 'node:crypto'
import type { JsonNameParams } from '@peculiar/x509'
import {
    Boolean as Asn1Boolean,
    Enumerated,
    fromBER,
    IA5String,
    Integer,
    ObjectIdentifier,
    OctetString,
    Sequence,
    Utf8String,
} from 'asn1js'

type X509 = typeof import('@peculiar/x509')
type Extension = InstanceType<X509['Extension']>

/** The parts of a name, in their order. */
export type NameParts = readonly (readonly [type: 'C' | 'ST' | 'L' | 'O' | 'OU' | 'CN', value: string])[]

export type SignatureName = keyof typeof SIGNATURES

/** Who signs, and with which key. */
export interface Signer {
    readonly name: NameParts
    readonly privateKey: KeyObject
    readonly signature: SignatureName
}

export interface CertificateTemplate {
    readonly subject: NameParts
    readonly publicKey: KeyObject
    /** Hex of a positive number; random unless told. */
    readonly serial?: string
    readonly notBefore: Date
    readonly notAfter: Date
    /** Made with the library that is handed over, so that nobody else loads it. */
    readonly extensions: (x509: X509) => readonly (Extension | Promise<Extension>)[]
}

export interface ListTemplate {
    readonly thisUpdate: Date
    readonly nextUpdate: Date
    /** Serial numbers in hex. */
    readonly revoked: readonly string[]
    /** CRLNumber, which grows with each list of one issuer. */
    readonly number: number
}

/** What a signature is made with, and with what parameters. */
export const SIGNATURES = {
    /** As AMD's root and intermediate sign: RSASSA-PSS, SHA-384, MGF1 with SHA-384, a salt of 48 bytes. */
    rsaPss384: {
        import: { name: 'RSA-PSS', hash: 'SHA-384' },
        sign: { name: 'RSA-PSS', hash: 'SHA-384', saltLength: 48 },
    },
    ecdsaP256: { import: { name: 'ECDSA', namedCurve: 'P-256' }, sign: { name: 'ECDSA', hash: 'SHA-256' } },
    ecdsaP384: { import: { name: 'ECDSA', namedCurve: 'P-384' }, sign: { name: 'ECDSA', hash: 'SHA-384' } },
} as const

/** A certificate, in DER. */
export async function mintCertificate(template: CertificateTemplate, signer: Signer): Promise<Buffer> {
    const x509 = await load()
    const { serial, publicKey, notBefore, notAfter } = template
    const certificate = await x509.X509CertificateGenerator.create({
        ...(serial === undefined ? {} : { serialNumber: serial }),
        subject: new x509.Name(jsonName(template.subject)),
        issuer: new x509.Name(jsonName(signer.name)),
        notBefore,
        notAfter,
        publicKey: publicKey.export({ type: 'spki', format: 'der' }),
        extensions: await Promise.all(template.extensions(x509)),
        signingKey: signingKey(signer),
        signingAlgorithm: SIGNATURES[signer.signature].sign,
    })
    return Buffer.from(certificate.rawData)
}

/** A revocation list, in DER. */
export async function mintRevocationList(template: ListTemplate, signer: Signer): Promise<Buffer> {
    const x509 = await load()
    const { thisUpdate, nextUpdate, revoked, number } = template
    const list = await x509.X509CrlGenerator.create({
        issuer: new x509.Name(jsonName(signer.name)),
        thisUpdate,
        nextUpdate,
        // An empty list must be absent (RFC 5280 §5.1.2.6).
        ...(revoked.length > 0 && {
            entries: revoked.map((serialNumber) => ({ serialNumber, revocationDate: thisUpdate })),
        }),
        extensions: [new x509.Extension(CRL_NUMBER, false, encodeInteger(number))],
        signingKey: signingKey(signer),
        signingAlgorithm: SIGNATURES[signer.signature].sign,
    })
    return Buffer.from(list.rawData)
}

/** DER of an INTEGER, an IA5String and others: what vendors put into extensions of their own. */
export const encodeInteger = (value: number): Buffer => Buffer.from(new Integer({ value }).toBER())
export const encodeEnumerated = (value: number): Buffer => Buffer.from(new Enumerated({ value }).toBER())
export const encodeBoolean = (value: boolean): Buffer => Buffer.from(new Asn1Boolean({ value }).toBER())
export const encodeOctets = (value: Uint8Array): Buffer => Buffer.from(new OctetString({ valueHex: value }).toBER())
export const encodeOid = (value: string): Buffer => Buffer.from(new ObjectIdentifier({ value }).toBER())
export const encodeIa5 = (value: string): Buffer => Buffer.from(new IA5String({ value }).toBER())
export const encodeUtf8 = (value: string): Buffer => Buffer.from(new Utf8String({ value }).toBER())

/** DER of a SEQUENCE of members that are DER themselves. */
export const encodeSequence = (...members: readonly Buffer[]): Buffer =>
    Buffer.from(new Sequence({ value: members.map((member) => fromBER(member).result) }).toBER())

/** PEM of a certificate, as every tool reads it. */
export const certificatePem = (der: Buffer): string => new X509Certificate(der).toString()

/** id-ce-cRLNumber (RFC 5280 §5.2.3). */
const CRL_NUMBER = '2.5.29.20'

// The decorators of its ASN.1 schemas want Reflect.getMetadata to be there before. A bundle has an older module as its
// default export alone.
async function load(): Promise<X509> {
    await import('reflect-metadata')
    const module: X509 & { readonly default?: X509 } = await import('@peculiar/x509')
    return module.default ?? module
}

// UTF8String, but for the country's PrintableString (RFC 5280 §4.1.2.4, appendix A.1).
const jsonName = (parts: NameParts): JsonNameParams =>
    parts.map(([type, value]) => ({ [type]: [{ [type === 'C' ? 'printableString' : 'utf8String']: value }] }))

const signingKey = ({ privateKey, signature }: Signer): CryptoKey =>
    privateKey.toCryptoKey(SIGNATURES[signature].import as webcrypto.EcKeyImportParams, false, ['sign']) as CryptoKey
