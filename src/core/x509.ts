// Certificates and revocation lists (RFC 5280): node:crypto parses and verifies, asn1js reads the extensions and
// lists that Node does not show. Whoever calls decides which key to trust; nothing here trusts anything.
// SPDX-License-Identifier: Apache-2.0

import { constants, type KeyObject, type VerifyKeyObjectInput, verify, X509Certificate } from 'node:crypto'
import {
    Boolean as Asn1Boolean,
    BitString,
    fromBER,
    GeneralizedTime,
    Integer,
    ObjectIdentifier,
    OctetString,
    Sequence,
    UTCTime,
} from 'asn1js'
import { equalBytes, toHex } from './bytes.ts'
import { coreError } from './errors.ts'

export interface Certificate {
    readonly der: Buffer
    readonly x509: X509Certificate
    /** Read when it is asked for. @throws AttestError ERR_CERTIFICATE where it is no key that OpenSSL can use */
    readonly publicKey: KeyObject
    readonly subjectCn: string
    readonly issuerCn: string
    /** Lower-case hex without leading zeros. */
    readonly serial: string
    readonly notBefore: Date
    readonly notAfter: Date
    /** The content of each extension's OCTET STRING, by object identifier. */
    readonly extensions: ReadonlyMap<string, Buffer>
    /** In DER. */
    readonly issuerName: Buffer
    /** The subject's name in DER: what a revocation list of this subject has as its issuer, byte by byte. */
    readonly subjectName: Buffer
}

export interface RevocationList {
    readonly der: Buffer
    readonly issuerCn: string
    /** In DER. */
    readonly issuerName: Buffer
    /** CRLNumber, decimal; null where it has none. */
    readonly number: string | null
    readonly thisUpdate: Date
    readonly nextUpdate: Date | null
    /** Serial numbers as in `Certificate.serial`. */
    readonly revoked: ReadonlySet<string>
    /** Whether this key has signed it, by an algorithm of the table below; false where the key is one of another kind. */
    verify(key: KeyObject): boolean
}

/** A value within DER that was read, and need not be read again. */
export type DerValue = { readonly __der: unique symbol }

interface SignatureAlgorithm {
    readonly hash: string
    readonly key: { readonly type: 'rsa' | 'ec'; readonly namedCurve?: string }
    /** Beside the key. What the list says of them decides nothing: a signature under others does not verify. */
    readonly parameters: Omit<VerifyKeyObjectInput, 'key'>
}

/** How vendors sign their lists, by the object identifier of the algorithm (RFC 4055 §3, RFC 5758 §3.2). */
const SIGNATURE_ALGORITHMS: Readonly<Record<string, SignatureAlgorithm>> = {
    // RSASSA-PSS: as AMD's roots, with SHA-384 and a salt of 48 bytes, and nothing else.
    '1.2.840.113549.1.1.10': {
        hash: 'sha384',
        key: { type: 'rsa' },
        parameters: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 },
    },
    // ECDSA, each hash on the curve of its size.
    '1.2.840.10045.4.3.2': {
        hash: 'sha256',
        key: { type: 'ec', namedCurve: 'prime256v1' },
        parameters: { dsaEncoding: 'der' },
    },
    '1.2.840.10045.4.3.3': {
        hash: 'sha384',
        key: { type: 'ec', namedCurve: 'secp384r1' },
        parameters: { dsaEncoding: 'der' },
    },
}

/** id-ce-cRLNumber (RFC 5280 §5.2.3). */
const CRL_NUMBER = '2.5.29.20'

/** Extensions that make a list one of changes, or of some certificates alone: what is not in it may be revoked. */
const NARROWING: Readonly<Record<string, string>> = {
    '2.5.29.27': 'changes against another list',
    '2.5.29.28': 'a list of some certificates',
}

const HEX_TEXT = /^(?:[0-9a-fA-F]{2})+$/

const PEM_BEGIN = /-----BEGIN ([A-Z0-9 ]{1,64})-----/g

/** A file of all authorities that a system trusts has 150 or so. */
const MAX_BLOCKS = 1024

/** One DER certificate, or every certificate of a PEM text. @throws AttestError ERR_CERTIFICATE */
export function parseCertificates(bytes: Uint8Array, title: string): Certificate[] {
    return derBlocks(bytes, ['CERTIFICATE', 'TRUSTED CERTIFICATE'], title).map((der) => parseCertificate(der, title))
}

/** One DER certificate with nothing after it. @throws AttestError ERR_CERTIFICATE */
export function parseCertificate(der: Uint8Array, title: string): Certificate {
    let x509: X509Certificate
    try {
        x509 = new X509Certificate(der)
    } catch (cause) {
        throw coreError('ERR_CERTIFICATE', `${title}: not a certificate`, { cause })
    }
    let inner: ReturnType<typeof readInner> | undefined
    let publicKey: KeyObject | undefined
    // OpenSSL reads the first structure of a buffer; what it did not read, nobody has signed.
    if (!equalBytes(x509.raw, der)) throw coreError('ERR_CERTIFICATE', `${title}: not plain DER, or bytes follow it`)
    return {
        der: Buffer.from(der),
        x509,
        subjectCn: commonName(x509.subject),
        issuerCn: commonName(x509.issuer),
        serial: normalSerial(x509.serialNumber),
        notBefore: x509.validFromDate,
        notAfter: x509.validToDate,
        get publicKey() {
            publicKey ??= readPublicKey(x509, title)
            return publicKey
        },
        // Most certificates of a chain are never asked for theirs, and reading them costs more than all the rest.
        get extensions() {
            inner ??= readInner(der, title)
            return inner.extensions
        },
        get issuerName() {
            inner ??= readInner(der, title)
            return inner.issuerName
        },
        get subjectName() {
            inner ??= readInner(der, title)
            return inner.subjectName
        },
    }
}

/** What is wrong where a certificate does not hold at a time, for a person; null where it holds. */
export function outOfTime(
    title: string,
    { notBefore, notAfter }: Pick<Certificate, 'notBefore' | 'notAfter'>,
    at: Date,
): string | null {
    const now = `the time is ${at.toISOString()}`
    if (at < notBefore) return `${title} is not valid before ${notBefore.toISOString()}, ${now}`
    return at > notAfter ? `${title} expired at ${notAfter.toISOString()}, ${now}` : null
}

/** A revocation list in DER, PEM, or DER as hex text. @throws AttestError ERR_CERTIFICATE */
export function parseRevocationList(bytes: Uint8Array, title: string): RevocationList {
    const asText = Buffer.from(bytes).toString('latin1').trim()
    const source = HEX_TEXT.test(asText) ? Buffer.from(asText, 'hex') : bytes
    const [der, more] = derBlocks(source, ['X509 CRL'], title)
    if (!der || more) throw coreError('ERR_CERTIFICATE', `${title}: expected one revocation list`)
    return readList(der, title)
}

/** Whether bytes are a revocation list rather than certificates. @throws AttestError ERR_CERTIFICATE where they are neither */
export function isRevocationList(bytes: Uint8Array, title: string): boolean {
    const text = Buffer.from(bytes).toString('latin1')
    if (text.includes('-----BEGIN ')) return pemBlocks(text, title).some(({ label }) => label === 'X509 CRL')
    if (HEX_TEXT.test(text.trim())) return true
    // A certificate's body begins with its version in [0]; a list's with a plain INTEGER, or with its algorithm.
    const [first] = children(children(decode(bytes, title), title)[0], title)
    return first?.idBlock.tagClass === 1 && (first instanceof Integer || first instanceof Sequence)
}

/** A DER INTEGER that a double can hold. @throws AttestError ERR_CERTIFICATE */
export function derInteger(der: Uint8Array | DerValue, title: string): number {
    const item = decode(der, title)
    const bytes = item instanceof Integer ? item.valueBlock.valueHexView : new Uint8Array(9)
    if (bytes.length < 1 || bytes.length > 6) throw malformed(title)
    return Buffer.from(bytes).readIntBE(0, bytes.length)
}

/** A DER string of ASCII. @throws AttestError ERR_CERTIFICATE */
export function derText(der: Uint8Array | DerValue, title: string): string {
    const value: unknown = (decode(der, title).valueBlock as { value?: unknown }).value
    if (typeof value !== 'string' || !/^[ -~]*$/.test(value)) throw malformed(title)
    return value
}

/** The content of a DER OCTET STRING. @throws AttestError ERR_CERTIFICATE */
export function derOctets(der: Uint8Array | DerValue, title: string): Buffer {
    const item = decode(der, title)
    if (item instanceof OctetString) return Buffer.from(item.getValue())
    throw malformed(title)
}

/** A DER BOOLEAN. @throws AttestError ERR_CERTIFICATE */
export function derBoolean(der: Uint8Array | DerValue, title: string): boolean {
    const item = decode(der, title)
    if (item instanceof Asn1Boolean) return item.getValue()
    throw malformed(title)
}

/** The bits of a DER BIT STRING, the first one in the highest place; as in KeyUsage. @throws AttestError ERR_CERTIFICATE */
export function derBits(der: Uint8Array | DerValue, title: string): Buffer {
    const item = decode(der, title)
    if (item instanceof BitString) return Buffer.from(item.valueBlock.valueHexView)
    throw malformed(title)
}

/**
 * A DER SEQUENCE of { OBJECT IDENTIFIER, value }: each value, for the functions of this kind.
 * @throws AttestError ERR_CERTIFICATE, also where an identifier stands twice
 */
export function derValues(der: Uint8Array | DerValue, title: string): Map<string, DerValue> {
    const out = new Map<string, DerValue>()
    for (const pair of children(decode(der, title), title)) {
        const [oid, value, more] = children(pair, title)
        if (!(oid instanceof ObjectIdentifier) || !value || more) throw malformed(title)
        const name = oid.getValue()
        if (out.has(name)) throw coreError('ERR_CERTIFICATE', `${title}: ${name} stands twice`)
        out.set(name, value as unknown as DerValue)
    }
    return out
}

function readPublicKey(x509: X509Certificate, title: string): KeyObject {
    try {
        return x509.publicKey
    } catch (cause) {
        throw coreError('ERR_CERTIFICATE', `${title}: its public key cannot be read`, { cause })
    }
}

// RFC 5280 §4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer,
// validity, subject, …, [3] EXPLICIT Extensions }, …, … }; version 1 has no [0] and no extensions.
function readInner(der: Uint8Array, title: string) {
    const tbs = children(children(decode(der, title), title)[0], title)
    const first = tbs[0]?.idBlock.tagClass === 3 ? 1 : 0
    const [issuer, subject] = [tbs[first + 2], tbs[first + 4]]
    if (!issuer || !subject) throw malformed(title)
    const wrapper = tbs.find((item) => item.idBlock.tagClass === 3 && item.idBlock.tagNumber === 3)
    return { issuerName: raw(issuer), subjectName: raw(subject), extensions: readExtensions(wrapper, title) }
}

function readExtensions(wrapper: Asn1 | undefined, title: string): Map<string, Buffer> {
    const out = new Map<string, Buffer>()
    if (!wrapper) return out
    for (const extension of children(children(wrapper, title)[0], title)) {
        const parts = children(extension, title)
        const value = parts.at(-1)
        if (!(parts[0] instanceof ObjectIdentifier) || !(value instanceof OctetString)) throw malformed(title)
        const oid = parts[0].getValue()
        if (out.has(oid)) throw coreError('ERR_CERTIFICATE', `${title}: extension ${oid} stands twice`)
        out.set(oid, Buffer.from(value.getValue()))
    }
    return out
}

// RFC 5280 §5.1: CertificateList ::= SEQUENCE { tbsCertList SEQUENCE { version?, signature, issuer, thisUpdate,
// nextUpdate?, revokedCertificates?, [0] extensions? }, signatureAlgorithm, signature }
function readList(der: Buffer, title: string): RevocationList {
    const [tbs, outerAlgorithm, signature] = children(decode(der, title), title)
    if (!tbs || !(signature instanceof BitString)) throw malformed(title)
    const rest = children(tbs, title)
    if (rest[0] instanceof Integer) rest.shift()
    const [innerAlgorithm, issuer, ...dates] = rest
    if (!innerAlgorithm || !outerAlgorithm || !equalBytes(raw(innerAlgorithm), raw(outerAlgorithm)))
        throw coreError('ERR_CERTIFICATE', `${title}: the algorithm inside is not the one outside`)
    const thisUpdate = time(dates[0], title)
    const hasNext = dates[1] instanceof UTCTime || dates[1] instanceof GeneralizedTime
    const entries = dates.slice(hasNext ? 2 : 1).find((item) => item instanceof Sequence)
    const revoked = new Set<string>()
    for (const entry of entries ? children(entries, title) : []) {
        const serial = children(entry, title)[0]
        if (!(serial instanceof Integer)) throw malformed(title)
        revoked.add(normalSerial(toHex(new Uint8Array(serial.valueBlock.valueHexView))))
    }
    const algorithm = children(outerAlgorithm, title)[0]
    if (!issuer || !(algorithm instanceof ObjectIdentifier)) throw malformed(title)
    const last = dates.at(-1)
    const extensions = readExtensions(last?.idBlock.tagClass === 3 ? last : undefined, title)
    for (const [oid, means] of Object.entries(NARROWING))
        if (extensions.has(oid)) throw coreError('ERR_CERTIFICATE', `${title}: ${means}, not a whole list`)
    const number = extensions.get(CRL_NUMBER)
    const signed = raw(tbs)
    const bits = Buffer.from(signature.valueBlock.valueHexView)
    return {
        der,
        issuerCn: nameCn(issuer, title),
        issuerName: raw(issuer),
        number: number ? derNumber(number, title) : null,
        thisUpdate,
        nextUpdate: hasNext ? time(dates[1], title) : null,
        revoked,
        verify(key) {
            const by = SIGNATURE_ALGORITHMS[algorithm.getValue()]
            const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
            if (!by || by.key.type !== type || by.key.namedCurve !== details?.namedCurve) return false
            return verify(by.hash, signed, { key, ...by.parameters }, bits)
        },
    }
}

/** A list of revoked certificates has seven or so for each; the size of what is read is capped before. */
const MAX_NODES = 1_000_000

type Asn1 = ReturnType<typeof fromBER>['result']

function decode(der: Uint8Array | DerValue, title: string): Asn1 {
    if (!(der instanceof Uint8Array)) return der as unknown as Asn1
    let decoded: ReturnType<typeof fromBER>
    try {
        // What stands within an OCTET STRING or a BIT STRING is read where somebody asks for it.
        decoded = fromBER(der, { parseEmbedded: false, maxNodes: MAX_NODES })
    } catch (cause) {
        throw coreError('ERR_CERTIFICATE', `${title}: malformed`, { cause })
    }
    if (decoded.offset !== der.length) throw malformed(title)
    return decoded.result
}

function children(item: Asn1 | undefined, title: string): Asn1[] {
    const value: unknown = (item?.valueBlock as { value?: unknown } | undefined)?.value
    if (!Array.isArray(value)) throw malformed(title)
    return [...(value as Asn1[])]
}

const raw = (item: Asn1): Buffer => Buffer.from(item.valueBeforeDecodeView)

function time(item: Asn1 | undefined, title: string): Date {
    if (item instanceof UTCTime || item instanceof GeneralizedTime) return item.toDate()
    throw malformed(title)
}

// An INTEGER of up to 20 bytes (RFC 5280 §5.2.3), decimal.
function derNumber(der: Uint8Array, title: string): string {
    const item = decode(der, title)
    if (!(item instanceof Integer) || item.valueBlock.valueHexView.length > 20) throw malformed(title)
    return BigInt(`0x${toHex(new Uint8Array(item.valueBlock.valueHexView)) || '0'}`).toString()
}

const CN = '2.5.4.3'

function nameCn(name: Asn1 | undefined, title: string): string {
    for (const set of children(name, title))
        for (const attribute of children(set, title)) {
            const [oid, value] = children(attribute, title)
            if (oid instanceof ObjectIdentifier && oid.getValue() === CN) {
                const text: unknown = (value?.valueBlock as { value?: unknown } | undefined)?.value
                if (typeof text === 'string') return text
            }
        }
    return ''
}

// Node prints a name as one `TYPE=value` a line; a line break inside a value is escaped.
const commonName = (name: string | undefined): string => /^CN=(.*)$/m.exec(name ?? '')?.[1] ?? ''

const normalSerial = (hex: string): string => hex.toLowerCase().replace(/^0+(?=.)/, '')

function derBlocks(bytes: Uint8Array, labels: string[], title: string): Buffer[] {
    const text = Buffer.from(bytes).toString('latin1')
    if (!text.includes('-----BEGIN ')) return [Buffer.from(bytes)]
    const blocks = pemBlocks(text, title).filter(({ label }) => labels.includes(label))
    if (blocks.length === 0) throw coreError('ERR_CERTIFICATE', `${title}: no ${labels[0]} in this PEM text`)
    return blocks.map(({ body }) => Buffer.from(body, 'base64'))
}

// Forward only: each byte is looked at once or twice, whatever the text. A block within another one belongs to that.
function pemBlocks(text: string, title: string): { readonly label: string; readonly body: string }[] {
    const blocks: { label: string; body: string }[] = []
    PEM_BEGIN.lastIndex = 0
    for (let begin = PEM_BEGIN.exec(text); begin; begin = PEM_BEGIN.exec(text)) {
        const [, label = ''] = begin
        const ending = `-----END ${label}-----`
        const end = text.indexOf(ending, PEM_BEGIN.lastIndex)
        if (end < 0) throw coreError('ERR_CERTIFICATE', `${title}: a ${label} without its end in this PEM text`)
        if (blocks.length >= MAX_BLOCKS)
            throw coreError('ERR_CERTIFICATE', `${title}: more than ${MAX_BLOCKS} blocks in this PEM text`)
        blocks.push({ label, body: text.slice(PEM_BEGIN.lastIndex, end) })
        PEM_BEGIN.lastIndex = end + ending.length
    }
    return blocks
}

const malformed = (title: string) => coreError('ERR_CERTIFICATE', `${title}: malformed`)
