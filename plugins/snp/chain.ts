// From a VEK to a key that is trusted: ARK (root) → ASK or ASVK → VCEK or VLEK. AMD 57230 rev 1.05, §2.
// The roots are the built-in figures, or those that the caller gave instead; what evidence brings can only lead to one.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, type KeyObject } from 'node:crypto'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { AttestError } from '#core/errors.ts'
import { type Certificate, outOfTime, parseCertificates, parseRevocationList, type RevocationList } from '#core/x509.ts'
import type { Trust } from '#evidence/verifier.ts'
import { snpError } from './errors.ts'
import { VENDOR_KEYS, type VendorKey } from './roots.ts'
import { isProductLine, type ProductLineName } from './tcb.ts'
import { readVek, VEK_SUBJECTS, type Vek, type VekKind } from './vek.ts'

/** A key that may vouch for others. */
export interface Authority {
    readonly cn: string
    readonly line: ProductLineName
    readonly key: KeyObject
    readonly serial: string
    readonly notBefore: Date
    readonly notAfter: Date
    /** The certificate or table that it comes from. */
    readonly source: string
    readonly emulated: boolean
}

/** An ASK or ASVK, and the root that signed it. */
export interface Issuer extends Authority {
    readonly root: Authority
}

/** What a verifier trusts, and what helps it; read once. */
export interface Anchors {
    readonly custom: boolean
    readonly roots: readonly Authority[]
    readonly issuers: readonly Issuer[]
    /** VCEKs and VLEKs that the caller gave: one that fits is used before that of the evidence. */
    readonly veks: readonly Vek[]
    /** What others of them could not be read for: those of later processors do not stand in the way of the rest. */
    readonly unreadable: readonly AttestError[]
    readonly revocationLists: readonly GivenList[]
}

interface GivenList {
    readonly name: string
    readonly list: RevocationList
    /** Whether that root has signed it; worked out once for each root. */
    readonly signedBy: (root: Authority) => boolean
}

const ROOT_CN = /^ARK-(.+)$/

/** Intermediates by the kind of key that they issue. */
const ISSUER_CN: Readonly<Record<VekKind, RegExp>> = { VCEK: /^SEV-(?!VLEK-)(.+)$/, VLEK: /^SEV-VLEK-(.+)$/ }

/** @throws AttestError ERR_CERTIFICATE, ERR_SNP_CHAIN */
export function readAnchors(trust: Trust): Anchors {
    const roots = trust.roots ? trust.roots.flatMap(({ name, bytes }) => readRoots(name, bytes)) : BUILT_IN.roots
    if (roots.length === 0)
        throw snpError('ERR_SNP_CHAIN', 'none of the given roots is a root key of SEV-SNP (self-signed, named ARK-…)')
    const given = trust.certificates.flatMap(({ name, bytes }) => parseCertificates(bytes, name))
    const issuers = given.flatMap((certificate) => issuerFrom(certificate, roots) ?? [])
    return {
        custom: trust.roots !== undefined,
        roots,
        issuers: trust.roots ? issuers : [...BUILT_IN.issuers, ...issuers],
        ...readVeks(given),
        revocationLists: trust.revocationLists.map(({ name, bytes }) => readList(name, bytes)),
    }
}

/**
 * The intermediate whose key signed this VEK, among those that a root vouches for.
 * @throws AttestError ERR_SNP_CHAIN
 */
export function findIssuer(vek: Vek, anchors: Anchors, fromEvidence: () => readonly Certificate[]): Issuer {
    const { certificate, kind, line } = vek
    if (ISSUER_CN[kind].exec(certificate.issuerCn)?.[1] !== line)
        throw snpError(
            'ERR_SNP_CHAIN',
            `the issuer ${JSON.stringify(certificate.issuerCn)} issues no ${kind} of ${line}`,
        )
    if (!anchors.roots.some((root) => root.line === line))
        throw snpError(
            'ERR_SNP_CHAIN',
            `no trusted root is one of ${line}: ${anchors.roots.map(({ cn }) => cn).join(', ')}`,
        )
    const signs = ({ cn, key }: Issuer): boolean => cn === certificate.issuerCn && signedBy(certificate, key)
    const known = anchors.issuers.find(signs)
    if (known) return known
    const brought = fromEvidence().flatMap((given) => issuerFrom(given, anchors.roots) ?? [])
    const found = brought.find(signs)
    if (found) return found
    const named = [...anchors.issuers, ...brought].filter(({ cn }) => cn === certificate.issuerCn)
    if (named.length > 0)
        throw snpError('ERR_SNP_CHAIN', `the ${kind} is not signed by ${certificate.issuerCn}`, {
            hint: anchors.custom ? undefined : 'an emulated or a forged guest has another root: --trust-root names one',
        })
    throw snpError('ERR_SNP_CHAIN', `no certificate of ${certificate.issuerCn} that a trusted root has signed`, {
        hint: 'give it with --certs',
    })
}

/** Names what is out of its time. @throws AttestError ERR_SNP_TIME */
export function checkTime(title: string, validity: Pick<Authority, 'notBefore' | 'notAfter'>, at: Date): void {
    const wrong = outOfTime(title, validity, at)
    if (wrong !== null) throw snpError('ERR_SNP_TIME', wrong)
}

/**
 * Whether a root has revoked an intermediate. Every list of that root counts, stale ones too, and one must be current.
 * Null where none was given.
 * @throws AttestError ERR_SNP_CRL, ERR_SNP_REVOKED
 */
export function checkRevocation(issuer: Issuer, anchors: Anchors, at: Date): string | null {
    const { root } = issuer
    const lists = anchors.revocationLists.filter(({ list }) => list.issuerCn === root.cn)
    if (lists.length === 0) return null
    for (const { name, list, signedBy } of lists) {
        if (!signedBy(root)) throw snpError('ERR_SNP_CRL', `the revocation list ${name} is not signed by ${root.cn}`)
        for (const { cn, serial } of [issuer, root])
            if (list.revoked.has(serial))
                throw snpError('ERR_SNP_REVOKED', `${cn} (serial ${serial}) is revoked by ${name}`)
    }
    const current = lists.find(
        ({ list: { thisUpdate, nextUpdate } }) => at >= thisUpdate && nextUpdate && at <= nextUpdate,
    )
    if (current) return current.name
    const spans = lists.map(
        ({ name, list }) => `${name} ${list.thisUpdate.toISOString()} to ${list.nextUpdate?.toISOString()}`,
    )
    throw snpError(
        'ERR_SNP_CRL',
        `no revocation list of ${root.cn} is current at ${at.toISOString()}: ${spans.join(', ')}`,
        {
            hint: 'fetch the current one: https://kdsintf.amd.com/vcek/v1/LINE/crl (or /vlek/v1/)',
        },
    )
}

const signedBy = ({ x509 }: Certificate, key: KeyObject): boolean => {
    try {
        return x509.verify(key)
    } catch {
        return false // a signature of another kind of key
    }
}

function readList(name: string, bytes: Buffer): GivenList {
    const list = parseRevocationList(bytes, name)
    const known = new Map<Authority, boolean>()
    return {
        name,
        list,
        signedBy(root) {
            const answer = known.get(root) ?? list.verify(root.key)
            known.set(root, answer)
            return answer
        },
    }
}

function readVeks(given: readonly Certificate[]): Pick<Anchors, 'veks' | 'unreadable'> {
    const veks: Vek[] = []
    const unreadable: AttestError[] = []
    for (const certificate of given.filter(({ subjectCn }) => Object.hasOwn(VEK_SUBJECTS, subjectCn)))
        try {
            veks.push(readVek(certificate))
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            unreadable.push(error)
        }
    return { veks, unreadable }
}

/** The root keys among the certificates of a file. @throws AttestError ERR_CERTIFICATE */
export function readRoots(name: string, bytes: Buffer): Authority[] {
    return parseCertificates(bytes, name).flatMap((certificate) => {
        const line = ROOT_CN.exec(certificate.subjectCn)?.[1] ?? ''
        if (!isProductLine(line) || certificate.issuerCn !== certificate.subjectCn) return []
        if (!certificate.x509.ca || !signedBy(certificate, certificate.publicKey)) return []
        return [authority(certificate, line, name)]
    })
}

// Null: no intermediate, or none that one of these roots has signed.
function issuerFrom(certificate: Certificate, roots: readonly Authority[]): Issuer | null {
    const { subjectCn, issuerCn, x509 } = certificate
    const line = (ISSUER_CN.VLEK.exec(subjectCn) ?? ISSUER_CN.VCEK.exec(subjectCn))?.[1] ?? ''
    if (!isProductLine(line) || !x509.ca) return null
    const root = roots.find(({ cn, key }) => cn === issuerCn && cn === `ARK-${line}` && signedBy(certificate, key))
    return root ? { ...authority(certificate, line, subjectCn), root } : null
}

const authority = (certificate: Certificate, line: ProductLineName, source: string): Authority => ({
    cn: certificate.subjectCn,
    line,
    key: certificate.publicKey,
    serial: certificate.serial,
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    source,
    emulated: certificate.extensions.has(EMULATION_OID),
})

const builtIn = ({ line, cn, serial, notBefore, notAfter, n }: VendorKey): Authority => ({
    cn,
    line,
    key: createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' }),
    serial,
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    source: 'built in',
    emulated: false,
})

const BUILT_IN = readBuiltIn()

function readBuiltIn(): { roots: Authority[]; issuers: Issuer[] } {
    const roots = VENDOR_KEYS.filter(({ role }) => role === 'ARK').map(builtIn)
    const issuers = VENDOR_KEYS.filter(({ role }) => role !== 'ARK').map((row) => {
        const root = roots.find(({ line }) => line === row.line)
        if (!root) throw new TypeError(`roots.ts: no ARK of ${row.line}`)
        return { ...builtIn(row), root }
    })
    return { roots, issuers }
}
