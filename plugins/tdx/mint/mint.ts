// An emulated vendor: root → PCK platform CA → PCK certificate, the key that signs statements, and the two revocation
// lists, as Intel's look (Intel SGX PCK Certificate and CRL Profile Specification; compared with real ones), each with
// the mark that says that it is none of Intel's. What these keys sign proves nothing of hardware.
// mint-statements.ts makes what the vendor says of its platforms, mint-quote.ts what a quoting enclave signs.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { DAY_MS } from '#core/dates.ts'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import {
    encodeBoolean,
    encodeEnumerated,
    encodeInteger,
    encodeOctets,
    encodeOid,
    encodeSequence,
    encodeUtf8,
    mintCertificate,
    mintRevocationList,
    type NameParts,
    type Signer,
} from '#core/mint.ts'

/** Private keys of the vendor's roles, of a platform (`pck`), and of its quoting enclave (`attestation`). */
export interface VendorKeys {
    readonly root: KeyObject
    readonly platform: KeyObject
    readonly tcbSigning: KeyObject
    readonly pck: KeyObject
    readonly attestation: KeyObject
}

/** DER. */
export interface VendorCertificates {
    readonly root: Buffer
    readonly platform: Buffer
    readonly tcbSigning: Buffer
    readonly pck: Buffer
}

/** DER: the root's, and that of the CA of PCK certificates. */
export interface VendorLists {
    readonly root: Buffer
    readonly pck: Buffer
}

/** What a PCK certificate says of a platform. */
export interface MintedPlatform {
    readonly ppid: Buffer
    readonly fmspc: Buffer
    readonly pceId: Buffer
    readonly platformInstanceId: Buffer
    /** The 16 components of its SGX TCB. */
    readonly sgxSvns: readonly number[]
    readonly pceSvn: number
    readonly cpuSvn: Buffer
    /** 0 standard, 1 scalable, 2 scalable with integrity. */
    readonly sgxType: number
    readonly dynamicPlatform: boolean
    readonly cachedKeys: boolean
    readonly smt: boolean
}

export interface Validity {
    readonly notBefore: Date
    readonly notAfter: Date
}

/** What of a chain is other than it would be. */
export interface ChainChanges {
    readonly validity?: Partial<Readonly<Record<keyof VendorCertificates, Partial<Validity>>>>
    /** Common names; an issuer's is in the certificates below it, too. */
    readonly names?: Partial<Readonly<Record<keyof VendorCertificates, string>>>
    /** Instead of the SGX extension's content. */
    readonly sgxExtension?: Buffer | null
    /** Without the mark, as a vendor's own look. */
    readonly unmarked?: boolean
}

export interface ListChanges {
    /** Serial numbers in hex. */
    readonly revoked?: readonly string[]
    readonly thisUpdate?: Date
    readonly nextUpdate?: Date
    /** CRLNumber. */
    readonly number?: number
}

/** How long what is minted holds; a certificate of the statements' key for seven years as Intel's. */
const YEARS = { root: 30, platform: 15, tcbSigning: 7, pck: 7 } as const

/** Days; Intel's hold a year and a month. These need no vendor that issues the next ones. */
const LIST_DAYS = 365

export const NAMES: Readonly<Record<keyof VendorCertificates, string>> = {
    root: 'Intel SGX Root CA',
    platform: 'Intel SGX PCK Platform CA',
    tcbSigning: 'Intel SGX TCB Signing',
    pck: 'Intel SGX PCK Certificate',
}

/** What a platform is that nobody described. Its FMSPC is none that Intel has given. */
export const DEFAULT_PLATFORM: MintedPlatform = {
    ppid: Buffer.alloc(16, 0x50),
    fmspc: Buffer.from('fee1f0000000', 'hex'),
    pceId: Buffer.alloc(2),
    platformInstanceId: Buffer.alloc(16, 0x49),
    sgxSvns: [5, 5, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
    pceSvn: 13,
    cpuSvn: Buffer.from('05050202040100050000000000000000', 'hex'),
    sgxType: 1,
    dynamicPlatform: true,
    cachedKeys: false,
    smt: true,
}

const newKeyPair = promisify(generateKeyPair)

/** New keys, all of P-256. */
export async function generateVendorKeys(): Promise<VendorKeys> {
    const make = async () => (await newKeyPair('ec', { namedCurve: 'prime256v1' })).privateKey
    const [root, platform, tcbSigning, pck, attestation] = await Promise.all([make(), make(), make(), make(), make()])
    return { root, platform, tcbSigning, pck, attestation }
}

/** The certificates of a vendor and of one of its platforms. */
export async function mintChain(
    keys: VendorKeys,
    platform: MintedPlatform,
    now: Date,
    { validity = {}, names = {}, sgxExtension = encodeSgxExtension(platform), unmarked = false }: ChainChanges = {},
): Promise<VendorCertificates> {
    const start = new Date(now.getTime() - DAY_MS)
    const cn = { ...NAMES, ...names }
    const issuers = { root: 'root', platform: 'root', tcbSigning: 'root', pck: 'platform' } as const
    const mint = (role: keyof VendorCertificates) => {
        const issuer = issuers[role]
        const pathLength = PATH_LENGTHS[role]
        const publicKey = createPublicKey(keys[role])
        const issuerInfo = spki(createPublicKey(keys[issuer]))
        return mintCertificate(
            {
                subject: intelName(cn[role]),
                publicKey,
                notBefore: validity[role]?.notBefore ?? start,
                notAfter: validity[role]?.notAfter ?? yearsAfter(start, YEARS[role]),
                // Intel's have distribution points; their lists are not ours to name.
                extensions: (x509) => [
                    x509.AuthorityKeyIdentifierExtension.create(issuerInfo),
                    x509.SubjectKeyIdentifierExtension.create(spki(publicKey)),
                    new x509.KeyUsagesExtension(
                        pathLength === null
                            ? x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.nonRepudiation
                            : x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
                        true,
                    ),
                    pathLength === null
                        ? new x509.BasicConstraintsExtension(false, undefined, true)
                        : new x509.BasicConstraintsExtension(true, pathLength, true),
                    ...(role === 'pck' && sgxExtension ? [new x509.Extension(SGX_OID, false, sgxExtension)] : []),
                    ...(unmarked ? [] : [new x509.Extension(EMULATION_OID, false, MARK)]),
                ],
            },
            signer(keys[issuer], cn[issuer]),
        )
    }
    const [root, platformCa, tcbSigning, pck] = await Promise.all([
        mint('root'),
        mint('platform'),
        mint('tcbSigning'),
        mint('pck'),
    ])
    return { root, platform: platformCa, tcbSigning, pck }
}

/** The two revocation lists; they revoke nothing unless told. */
export async function mintLists(
    keys: VendorKeys,
    now: Date,
    changes: { readonly root?: ListChanges; readonly pck?: ListChanges; readonly names?: ChainChanges['names'] } = {},
): Promise<VendorLists> {
    const cn = { ...NAMES, ...changes.names }
    const mint = (role: 'root' | 'platform', { revoked = [], thisUpdate, nextUpdate, number }: ListChanges = {}) => {
        const since = thisUpdate ?? new Date(now.getTime() - DAY_MS)
        const until = nextUpdate ?? new Date(since.getTime() + LIST_DAYS * DAY_MS)
        const template = {
            revoked,
            thisUpdate: since,
            nextUpdate: until,
            number: number ?? Math.floor(now.getTime() / 1000),
        }
        return mintRevocationList(template, signer(keys[role], cn[role]))
    }
    const [root, pck] = await Promise.all([mint('root', changes.root), mint('platform', changes.pck)])
    return { root, pck }
}

/**
 * The content of the PCK certificate's SGX extension: a SEQUENCE of an object identifier and a value each.
 * @param members how many: those that the Processor CA certifies have the first 5
 */
export function encodeSgxExtension(platform: MintedPlatform, members = 7): Buffer {
    const { sgxSvns, pceSvn, cpuSvn } = platform
    const pair = (arc: string, value: Buffer) => encodeSequence(encodeOid(`${SGX_OID}.${arc}`), value)
    const tcb = encodeSequence(
        ...sgxSvns.map((svn, index) => pair(`2.${index + 1}`, encodeInteger(svn))),
        pair('2.17', encodeInteger(pceSvn)),
        pair('2.18', encodeOctets(cpuSvn)),
    )
    const configuration = encodeSequence(
        pair('7.1', encodeBoolean(platform.dynamicPlatform)),
        pair('7.2', encodeBoolean(platform.cachedKeys)),
        pair('7.3', encodeBoolean(platform.smt)),
    )
    const all = [
        pair('1', encodeOctets(platform.ppid)),
        pair('2', tcb),
        pair('3', encodeOctets(platform.pceId)),
        pair('4', encodeOctets(platform.fmspc)),
        pair('5', encodeEnumerated(platform.sgxType)),
        pair('6', encodeOctets(platform.platformInstanceId)),
        pair('7', configuration),
    ]
    return encodeSequence(...all.slice(0, members))
}

/** Intel's SGX extension of PCK certificates. */
const SGX_OID = '1.2.840.113741.1.13.1'

/** How many authorities may stand below one; null: it is none. */
const PATH_LENGTHS: Readonly<Record<keyof VendorCertificates, number | null>> = {
    root: 1,
    platform: 0,
    tcbSigning: null,
    pck: null,
}

const MARK = encodeUtf8('emulated')

const signer = (privateKey: KeyObject, cn: string): Signer => ({
    name: intelName(cn),
    privateKey,
    signature: 'ecdsaP256',
})

const intelName = (cn: string): NameParts => [
    ['CN', cn],
    ['O', 'Intel Corporation'],
    ['L', 'Santa Clara'],
    ['ST', 'CA'],
    ['C', 'US'],
]

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

function yearsAfter(date: Date, years: number): Date {
    const out = new Date(date)
    out.setUTCFullYear(out.getUTCFullYear() + years)
    return out
}
