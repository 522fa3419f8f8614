// Is this platform AMD's? ARK → ASK → CEK → PEK ← OCA, and PDH, whose key a session is made with. There is no revocation
// and no TCB version in this chain: what is known of the firmware is its API and build, which the measurement covers.
// SPDX-License-Identifier: Apache-2.0

import { hash, type KeyObject } from 'node:crypto'
import type { Checks } from '#core/checks.ts'
import { AttestError, restated } from '#core/errors.ts'
import { sevError } from '../errors.ts'
import { AMD_KEYS, type AmdKey, amdKey } from '../roots.ts'
import type { AlgorithmName } from './algorithms.ts'
import { type AmdCertificate, isAmdCertificate, isIssuedBy, parseAmdCertificate } from './amd-certs.ts'
import { CERT_SIZE, isSignedBy, parseCertificate, peekUsage, type SevCertificate } from './certs.ts'
import { type Api, isAtLeast } from './firmware.ts'

/** Certificates as they were found in files; which are needed depends on the question. */
export interface ChainFiles {
    readonly pdh?: SevCertificate
    readonly pek?: SevCertificate
    readonly oca?: SevCertificate
    readonly cek?: SevCertificate
    readonly ask?: AmdCertificate
    readonly ark?: AmdCertificate
}

export interface ChainTrust {
    /** The roots that are trusted instead of AMD's: an emulator's, a laboratory's. */
    readonly roots?: readonly AmdCertificate[]
    /** Whose platform it must be: the certificate of its owner (OCA). */
    readonly owner?: SevCertificate
}

/** What a verified chain says. */
export interface Platform {
    /** The generation of AMD's keys, or null where another root is trusted. */
    readonly productLine: AmdKey['line'] | null
    readonly pek: KeyObject
    /** SHA-256 of the chip's certificate up to its signatures, hex: the same for each export. */
    readonly chip: string
    /** The same of the owner's certificate. */
    readonly owner: string
    /** The key that a session is made with. */
    readonly pdh: KeyObject | null
    /** The older API of the firmware that made PEK and PDH: no update of the firmware renews them by itself. */
    readonly madeBy: Api
    /** SHA-256 of the chip's, the owner's and the platform's certificates: what a launch is bound to. */
    readonly fingerprint: string
}

/** The names of the checks, in their order. */
export const CHAIN_CHECKS = ['root', 'ask', 'cek', 'oca', 'pek', 'pdh', 'owner'] as const

/** SEV certificates of a file at most: each kind twice. */
const MAX_CERTIFICATES = 16

/**
 * Sorts the certificates of some files: one behind the other in any order, as `PEK ‖ OCA ‖ CEK` of a host, the export of
 * sevctl, `ASK ‖ ARK` of AMD. A signed CEK takes the place of the unsigned one that hosts export.
 * @throws AttestError ERR_SEV_CERTIFICATE, ERR_LENGTH, ERR_RESERVED
 */
export function readChain(files: readonly { readonly name: string; readonly bytes: Buffer }[]): ChainFiles {
    const found: { -readonly [K in keyof ChainFiles]: ChainFiles[K] } = {}
    for (const { name, bytes } of files)
        for (const certificate of split(name, bytes)) {
            if ('signatures' in certificate) {
                const key = certificate.usage.toLowerCase() as 'pdh' | 'pek' | 'oca' | 'cek'
                found[key] = better(found[key], certificate, name)
            } else {
                const key = certificate.usage.toLowerCase() as 'ark' | 'ask'
                const other = found[key]
                if (other && !other.body.equals(certificate.body)) throw second(name, certificate.usage)
                found[key] = certificate
            }
        }
    return found
}

/**
 * Authenticates a platform, step by step.
 * @throws AttestError ERR_SEV_ROOT, ERR_SEV_CHAIN, ERR_SEV_CEK_UNSIGNED, ERR_SEV_CERTIFICATE, ERR_SEV_OWNER
 */
export function verifyChain(files: ChainFiles, trust: ChainTrust, checks: Checks): Platform {
    const issuers = checkVendor(files, trust, checks)
    const { cek, productLine } = checks.run('cek', () => checkCek(need(files.cek, 'CEK'), issuers))
    const { oca, pek } = checkOwned(files, cek, checks)
    const pdh = files.pdh
    checks.runIfNamed('pdh', 'none was given', () => (pdh ? checkPdh(pdh, pek) : null))
    checks.runIfNamed('owner', 'no owner was named', () => (trust.owner ? checkOwner(oca, trust.owner) : null))
    return {
        productLine,
        pek: pek.publicKey,
        chip: digestOf(cek),
        owner: digestOf(oca),
        pdh: pdh?.publicKey ?? null,
        madeBy: pdh && !isAtLeast(pdh, pek) ? apiOf(pdh) : apiOf(pek),
        fingerprint: hash('sha256', [cek, oca, pek, ...(pdh ? [pdh] : [])].map(digestOf).join(), 'hex'),
    }
}

const apiOf = ({ apiMajor, apiMinor }: SevCertificate): Api => ({ apiMajor, apiMinor })

/** A key that may have signed a chip's, and whose it is. */
interface Issuer {
    readonly key: KeyObject
    readonly line: AmdKey['line'] | null
}

// The keys of AMD are known; certificates that were given are verified all the same, and must be theirs.
function checkVendor({ ark, ask }: ChainFiles, { roots }: ChainTrust, checks: Checks): readonly Issuer[] {
    const anchors = roots
        ? roots.map(({ publicKey }): Issuer => ({ key: publicKey, line: null }))
        : AMD_KEYS.filter(({ role }) => role === 'ARK').map((row): Issuer => ({ key: amdKey(row), line: row.line }))
    checks.run('root', () => {
        if (!ark) return { detail: roots ? 'those that were named' : "AMD's, as this program knows them" }
        const anchor = anchors.find(({ key }) => key.equals(ark.publicKey))
        if (!anchor)
            throw sevError('ERR_SEV_ROOT', `the key of the root ${ark.keyId} is none of those that are trusted`)
        if (!isIssuedBy(ark, anchor.key))
            throw sevError('ERR_SEV_CHAIN', 'the root certificate is not signed by its own key')
        return { detail: `key ${ark.keyId}${anchor.line ? `, ${anchor.line}` : ''}` }
    })
    const { issuers } = checks.run('ask', (): { detail: string; issuers: readonly Issuer[] } => {
        if (ask) {
            const anchor = anchors.find(({ key }) => isIssuedBy(ask, key))
            if (!anchor) throw sevError('ERR_SEV_CHAIN', `ASK ${ask.keyId} is signed by no root that is trusted`)
            return { detail: `key ${ask.keyId}`, issuers: [{ key: ask.publicKey, line: anchor.line }] }
        }
        if (roots)
            throw sevError('ERR_SEV_CERTIFICATE', 'ASK is missing: with a root of your own it must be given', {
                hint: 'name its file with --cert-chain',
            })
        const rows = AMD_KEYS.filter(({ role }) => role === 'ASK')
        return {
            detail: "AMD's, as this program knows them",
            issuers: rows.map((row) => ({ key: amdKey(row), line: row.line })),
        }
    })
    return issuers
}

function checkCek(cek: SevCertificate, issuers: readonly Issuer[]) {
    wantKey(cek, SIGNING)
    if (cek.signatures.length === 0)
        throw sevError('ERR_SEV_CEK_UNSIGNED', 'CEK carries no signature of AMD: hosts export it without', {
            hint: "AMD's service has the signed one: --chip-id asks for it, or name its file with --cek",
        })
    const issuer = issuers.find(({ key }) => isSignedBy(cek, 'ASK', key))
    if (!issuer) throw sevError('ERR_SEV_CHAIN', 'CEK is signed by no ASK that is trusted')
    return { detail: `chip ${digestOf(cek)}${issuer.line ? `, ${issuer.line}` : ''}`, productLine: issuer.line, cek }
}

function checkOwned(files: ChainFiles, cek: SevCertificate, checks: Checks) {
    const { oca } = checks.run('oca', () => {
        const oca = need(files.oca, 'OCA')
        wantKey(oca, OWNING)
        if (!isSignedBy(oca, 'OCA', oca.publicKey)) throw sevError('ERR_SEV_CHAIN', 'OCA is not signed by its own key')
        return { detail: `owner ${digestOf(oca)}`, oca }
    })
    const { pek } = checks.run('pek', () => {
        const pek = need(files.pek, 'PEK')
        wantKey(pek, SIGNING)
        if (!isSignedBy(pek, 'CEK', cek.publicKey)) throw sevError('ERR_SEV_CHAIN', 'PEK is not signed by CEK')
        if (!isSignedBy(pek, 'OCA', oca.publicKey)) throw sevError('ERR_SEV_CHAIN', 'PEK is not signed by OCA')
        return { detail: 'signed by CEK and OCA', pek }
    })
    return { oca, pek }
}

function checkPdh(pdh: SevCertificate, pek: SevCertificate) {
    wantKey(pdh, AGREEING)
    if (!isSignedBy(pdh, 'PEK', pek.publicKey)) throw sevError('ERR_SEV_CHAIN', 'PDH is not signed by PEK')
    return { detail: `signed by PEK; API ${pdh.apiMajor}.${pdh.apiMinor} when it was made` }
}

function checkOwner(oca: SevCertificate, owner: SevCertificate) {
    if (!oca.publicKey.equals(owner.publicKey))
        throw sevError('ERR_SEV_OWNER', `the platform belongs to ${digestOf(oca)}, expected ${digestOf(owner)}`)
    return { detail: 'the one that was named' }
}

/** What a key of each kind is for. */
const SIGNING: readonly AlgorithmName[] = ['ECDSA_SHA256', 'ECDSA_SHA384']
const OWNING: readonly AlgorithmName[] = [...SIGNING, 'RSA_SHA256', 'RSA_SHA384']
const AGREEING: readonly AlgorithmName[] = ['ECDH_SHA256', 'ECDH_SHA384']

function wantKey({ usage, algorithm, publicKey }: SevCertificate, algorithms: readonly AlgorithmName[]): void {
    if (!algorithms.includes(algorithm))
        throw sevError('ERR_SEV_CERTIFICATE', `${usage}: a key for ${algorithm}, expected ${algorithms.join(' or ')}`)
    const { namedCurve } = publicKey.asymmetricKeyDetails ?? {}
    if (namedCurve !== undefined && namedCurve !== 'secp384r1')
        throw sevError('ERR_SEV_CERTIFICATE', `${usage}: a key on ${namedCurve}, expected P-384`)
}

function need(certificate: SevCertificate | undefined, usage: string): SevCertificate {
    if (certificate) return certificate
    throw sevError('ERR_SEV_CERTIFICATE', `${usage} is missing: none of the files has it`, {
        hint: 'the host’s cert-chain (QMP query-sev-capabilities) has PEK, OCA and CEK: --cert-chain names its file',
    })
}

/** SHA-256 of what its signatures are over, hex. */
export const digestOf = ({ body }: SevCertificate): string => hash('sha256', body, 'hex')

function* split(name: string, bytes: Buffer): Generator<SevCertificate | AmdCertificate> {
    let count = 0
    for (let at = 0; at < bytes.length; count++) {
        if (count === MAX_CERTIFICATES)
            throw sevError('ERR_SEV_CERTIFICATE', `${name}: more than ${MAX_CERTIFICATES} certificates`)
        const rest = bytes.subarray(at)
        const usage = peekUsage(rest)
        if (usage && rest.length < CERT_SIZE)
            throw sevError('ERR_SEV_CERTIFICATE', `${name}: ${usage} has ${rest.length} bytes, expected ${CERT_SIZE}`)
        if (!usage && !isAmdCertificate(rest)) throw noCertificate(name, at)
        const certificate = named(name, at, () =>
            usage ? parseCertificate(rest.subarray(0, CERT_SIZE)) : parseAmdCertificate(rest),
        )
        yield certificate
        at += 'size' in certificate ? certificate.size : CERT_SIZE
    }
    if (count === 0) throw sevError('ERR_SEV_CERTIFICATE', `${name} is no certificate of SEV: it is empty`)
}

function noCertificate(name: string, at: number): Error {
    const where = at === 0 ? `${name} is no certificate of SEV` : `${name}: no certificate of SEV stands at byte ${at}`
    return sevError('ERR_SEV_CERTIFICATE', where, {
        hint: `PDH, PEK, OCA and CEK have ${CERT_SIZE} bytes each, ARK and ASK 832 or 1600`,
    })
}

/** What a certificate says of itself, with the file that it stands in. */
function named<T>(name: string, at: number, read: () => T): T {
    try {
        return read()
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        throw restated(error, `${name}, at byte ${at}: ${error.message}`)
    }
}

// One key of each kind. Of the same key, the certificate that is signed.
function better(known: SevCertificate | undefined, other: SevCertificate, name: string): SevCertificate {
    if (!known) return other
    if (!known.publicKey.equals(other.publicKey)) throw second(name, other.usage)
    return other.signatures.length > known.signatures.length ? other : known
}

const second = (name: string, usage: string): Error =>
    sevError('ERR_SEV_CERTIFICATE', `${name}: a second ${usage}, of another key`)
