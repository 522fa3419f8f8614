// SEV certificates, as a platform exports them (PDH, PEK, OCA, CEK) and as an owner makes them (its OCA, GODH). AMD 55766
// (Secure Encrypted Virtualization API): 2084 bytes, little-endian, two signatures over the part before them.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import { bytes, layout, type Parsed, struct, u8, u32, zero } from '#core/layout.ts'
import { sevError } from '../errors.ts'
import {
    ALGORITHMS,
    type AlgorithmName,
    algorithmOf,
    encodeEcKey,
    makeSignature,
    parseEcKey,
    parseRsaKey,
    verifySignature,
} from './algorithms.ts'

export const CERT_SIZE = 0x824

/** What both signatures are over. */
const SIGNED_SIZE = 0x414

const KEY_SIZE = 1028
const SIGNATURE_SIZE = 512
const VERSION = 1

/** Whose key it is, by number. INVALID marks a signature that is not there. */
export const USAGES = {
    ARK: 0x0000,
    ASK: 0x0013,
    INVALID: 0x1000,
    OCA: 0x1001,
    PEK: 0x1002,
    PDH: 0x1003,
    CEK: 0x1004,
} as const

export type Usage = keyof typeof USAGES

const SIGNATURE = layout('signature', 8 + SIGNATURE_SIZE, {
    usage: u32(0),
    algorithm: u32(4),
    value: bytes(8, SIGNATURE_SIZE),
})

const CERT = layout('SEV certificate', CERT_SIZE, {
    version: u32(0x000),
    apiMajor: u8(0x004),
    apiMinor: u8(0x005),
    reserved006: zero(0x006, 2),
    usage: u32(0x008),
    algorithm: u32(0x00c),
    publicKey: bytes(0x010, KEY_SIZE),
    signature1: struct(SIGNED_SIZE, SIGNATURE),
    signature2: struct(0x61c, SIGNATURE),
})

export interface SevSignature {
    /** Whose signature it says it is. */
    readonly usage: Usage
    readonly algorithm: AlgorithmName
    readonly value: Buffer
}

export interface SevCertificate {
    readonly usage: Usage
    readonly algorithm: AlgorithmName
    /** The firmware's API at the time when the certificate was made. */
    readonly apiMajor: number
    readonly apiMinor: number
    readonly publicKey: KeyObject
    /** Those that are there, at most two. */
    readonly signatures: readonly SevSignature[]
    readonly bytes: Buffer
    /** What its signatures are over. */
    readonly body: Buffer
}

/** The name of a usage, or null. */
function usageOf(id: number): Usage | null {
    const found = Object.entries(USAGES).find(([, value]) => value === id)
    return found ? (found[0] as Usage) : null
}

/** Which certificate these bytes begin with, as far as their head says; null for none. */
export function peekUsage(from: Buffer): Usage | null {
    if (from.length < 12 || from.readUInt32LE(0) !== VERSION) return null
    const usage = usageOf(from.readUInt32LE(8))
    return usage === null || usage === 'INVALID' || usage === 'ARK' || usage === 'ASK' ? null : usage
}

/**
 * Exactly one certificate. Its signatures are read, not verified.
 * @throws AttestError ERR_LENGTH, ERR_RESERVED, ERR_SEV_CERTIFICATE
 */
export function parseCertificate(raw: Uint8Array, wanted?: Usage): SevCertificate {
    const title = wanted ?? 'SEV certificate'
    const parsed = CERT.parse(raw)
    if (parsed.version !== VERSION)
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: expected version ${VERSION}, got ${parsed.version}`)
    const usage = wantUsage(parsed.usage, title)
    if (usage === 'INVALID' || (wanted !== undefined && usage !== wanted))
        throw sevError('ERR_SEV_CERTIFICATE', `expected a certificate of ${wanted ?? 'a key'}, got one of ${usage}`)
    const algorithm = wantAlgorithm(parsed.algorithm, usage)
    const bytes = Buffer.from(raw)
    return {
        usage,
        algorithm,
        apiMajor: parsed.apiMajor,
        apiMinor: parsed.apiMinor,
        publicKey: parseKey(parsed.publicKey, algorithm, usage),
        signatures: [parsed.signature1, parsed.signature2].flatMap((one) => readSignature(one, usage)),
        bytes,
        body: bytes.subarray(0, SIGNED_SIZE),
    }
}

/** What is to be in a certificate that is made. */
export interface CertificateTemplate {
    readonly usage: Usage
    readonly algorithm: AlgorithmName
    readonly apiMajor?: number
    readonly apiMinor?: number
    /** On P-384. */
    readonly publicKey: KeyObject
}

export interface CertificateSigner {
    readonly usage: Usage
    readonly algorithm: AlgorithmName
    readonly privateKey: KeyObject
}

/** A new certificate, with at most two signatures in their order. */
export function makeCertificate(template: CertificateTemplate, signers: readonly CertificateSigner[]): Buffer {
    const { usage, algorithm, apiMajor = 0, apiMinor = 0, publicKey } = template
    const unsigned = CERT.encode({
        version: VERSION,
        apiMajor,
        apiMinor,
        usage: USAGES[usage],
        algorithm: ALGORITHMS[algorithm].id,
        publicKey: encodeEcKey(publicKey, KEY_SIZE),
        signature1: NO_SIGNATURE,
        signature2: NO_SIGNATURE,
    })
    const body = unsigned.subarray(0, SIGNED_SIZE)
    for (const [at, signer] of signers.entries()) {
        const value = makeSignature(body, SIGNATURE_SIZE, signer.algorithm, signer.privateKey)
        const slot = { usage: USAGES[signer.usage], algorithm: ALGORITHMS[signer.algorithm].id, value }
        unsigned.set(SIGNATURE.encode(slot), SIGNED_SIZE + at * SIGNATURE.size)
    }
    return unsigned
}

/** Whether one of its signatures says that it is of this usage, and is that key's. */
export function isSignedBy(certificate: SevCertificate, usage: Usage, key: KeyObject): boolean {
    return certificate.signatures
        .filter((signature) => signature.usage === usage)
        .some(({ value, algorithm }) => verifySignature(certificate.body, value, algorithm, key))
}

const NO_SIGNATURE = { usage: USAGES.INVALID, algorithm: 0, value: Buffer.alloc(SIGNATURE_SIZE) }

function parseKey(key: Buffer, algorithm: AlgorithmName, title: string): KeyObject {
    if (ALGORITHMS[algorithm].kind === 'ec') return parseEcKey(key, title)
    const bits = key.readUInt32LE(0)
    if (bits !== 2048 && bits !== 4096)
        throw sevError('ERR_SEV_CERTIFICATE', `${title}: expected a modulus of 2048 or 4096 bits, got ${bits}`)
    const modulus = key.subarray(4 + SIGNATURE_SIZE, 4 + SIGNATURE_SIZE + bits / 8)
    return parseRsaKey(key.subarray(4, 4 + SIGNATURE_SIZE), modulus, title)
}

// An empty slot has the usage INVALID; what else it holds says nothing.
function readSignature(parsed: Parsed<typeof SIGNATURE.fields>, title: string): SevSignature[] {
    const usage = wantUsage(parsed.usage, `${title}: signature`)
    if (usage === 'INVALID') return []
    return [{ usage, algorithm: wantAlgorithm(parsed.algorithm, `${title}: signature`), value: parsed.value }]
}

function wantUsage(id: number, title: string): Usage {
    const usage = usageOf(id)
    if (usage) return usage
    throw sevError('ERR_SEV_CERTIFICATE', `${title}: the usage 0x${id.toString(16)} is not known`)
}

function wantAlgorithm(id: number, title: string): AlgorithmName {
    const algorithm = algorithmOf(id)
    if (algorithm) return algorithm
    throw sevError('ERR_SEV_CERTIFICATE', `${title}: the algorithm 0x${id.toString(16)} is not known`)
}
