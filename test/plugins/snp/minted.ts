// An SNP vendor of the tests' own: minted keys and certificates, and reports that are really signed with them.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { encodeIa5, encodeInteger, mintCertificate, type NameParts } from '#core/mint.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { NamedBytes, Trust, Verifier } from '#evidence/verifier.ts'
import { CERT_GUIDS, encodeCertTable } from '#plugins/snp/cert-table.ts'
import { GENERATIONS, type Generation, type GenerationName } from '#plugins/snp/generations.ts'
import { generateVendorKeys, mintChain, mintList, type VendorCertificates, type VendorKeys } from '#plugins/snp/mint.ts'
import { encodeReport, type Report, SIGNED_SIZE } from '#plugins/snp/report.ts'
import { PRODUCT_LINES, writeTcb } from '#plugins/snp/tcb.ts'
import { VEK_OIDS, type VekKind } from '#plugins/snp/vek.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'

export interface Vendor {
    readonly generation: Generation
    /** What signs its reports: `keys.vcek`, whatever its kind. */
    readonly kind: VekKind
    readonly keys: VendorKeys
    readonly certificates: VendorCertificates
    readonly list: Buffer
    readonly chipId: Buffer
    /** When everything that was minted holds. */
    readonly now: Date
}

export async function vendor(name: GenerationName, keys?: VendorKeys): Promise<Vendor> {
    const generation: Generation = GENERATIONS[name]
    const own = keys ?? (await generateVendorKeys())
    const now = new Date()
    const chipId = Buffer.alloc(64)
    chipId.fill(0x5a, 0, generation.line === 'Turin' ? 8 : 64)
    return {
        generation,
        kind: 'VCEK',
        keys: own,
        certificates: await mintChain(generation, own, chipId, now),
        list: await mintList(generation, own, now),
        chipId,
        now,
    }
}

/** A report with these fields changed, signed after that. */
export function report({ generation, kind, keys, chipId }: Vendor, changed: Partial<Report> = {}): Buffer {
    const tcb = writeTcb(generation.line, generation.tcb)
    const { family, model, stepping } = generation.cpuid
    const fields: Report = {
        version: generation.reportVersion,
        guestSvn: 0,
        policy: 0x30000n,
        familyId: Buffer.alloc(16),
        imageId: Buffer.alloc(16),
        vmpl: 0,
        signatureAlgo: 1,
        currentTcb: tcb,
        platformInfo: generation.platformInfo,
        keyInfo: kind === 'VLEK' ? 1 << 2 : 0,
        reportData: Buffer.alloc(64, 0x11),
        measurement: Buffer.alloc(48, 0x22),
        hostData: Buffer.alloc(32),
        idKeyDigest: Buffer.alloc(48),
        authorKeyDigest: Buffer.alloc(48),
        reportId: Buffer.alloc(32, 0x33),
        reportIdMa: Buffer.alloc(32, 0xff),
        reportedTcb: tcb,
        cpuidFamily: family,
        cpuidModel: model,
        cpuidStepping: stepping,
        chipId,
        committedTcb: tcb,
        currentVersion: generation.firmware,
        committedVersion: generation.firmware,
        launchTcb: tcb,
        launchMitVector: generation.mitigations,
        currentMitVector: generation.mitigations,
        currentEtcb: Buffer.alloc(32),
        launchEtcb: Buffer.alloc(32),
        committedEtcb: Buffer.alloc(32),
        signatureR: Buffer.alloc(72),
        signatureS: Buffer.alloc(72),
        ...changed,
    }
    return resign(encodeReport(fields), keys)
}

/** Signs the bytes as they are, whatever they say. */
export function resign(raw: Buffer, { vcek }: VendorKeys): Buffer {
    const out = Buffer.from(raw)
    const signature = sign('sha384', out.subarray(0, SIGNED_SIZE), { key: vcek, dsaEncoding: 'ieee-p1363' })
    out.fill(0, SIGNED_SIZE)
    out.set(Buffer.from(signature.subarray(0, 48)).reverse(), 0x2a0)
    out.set(Buffer.from(signature.subarray(48)).reverse(), 0x2e8)
    return out
}

/** The table that a host would store. */
export const table = ({ kind, certificates: { vcek, ask, ark } }: Vendor): Buffer =>
    encodeCertTable([
        { guid: CERT_GUIDS[kind], data: vcek },
        { guid: CERT_GUIDS.ASK, data: ask },
        { guid: CERT_GUIDS.ARK, data: ark },
    ])

/** This vendor with a VLEK in the place of its VCEK, and with the ASVK that issued it. Nobody's reports but its own. */
export async function withVlek(
    of: Vendor,
    provider: string,
    valid = { notBefore: of.now, days: 365 },
): Promise<Vendor> {
    const { generation, keys, chipId, now } = of
    const { structVersion } = PRODUCT_LINES[generation.line]
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
    const days = (date: Date, n: number): Date => new Date(date.getTime() + n * 86_400_000)
    const name = (cn: string): NameParts => [['CN', cn]]
    const asvk = `SEV-VLEK-${generation.line}`
    const issuer = await mintCertificate(
        {
            subject: name(asvk),
            publicKey: createPublicKey(keys.ask),
            serial: '0101',
            notBefore: days(now, -900),
            notAfter: days(now, 9000),
            extensions: (x509) => [new x509.BasicConstraintsExtension(true, 0, true)],
        },
        { name: name(`ARK-${generation.line}`), privateKey: keys.ark, signature: 'rsaPss384' },
    )
    const vlek = await mintCertificate(
        {
            subject: name('SEV-VLEK'),
            publicKey,
            serial: '02',
            notBefore: valid.notBefore,
            notAfter: days(valid.notBefore, valid.days),
            extensions: (x509) =>
                Object.entries({
                    structVersion: encodeInteger(structVersion),
                    productName: encodeIa5(generation.line),
                    ...Object.fromEntries(
                        Object.entries(generation.tcb).map(([part, svn]) => [part, encodeInteger(svn)]),
                    ),
                    cspId: encodeIa5(`CN=${provider}`),
                }).map(([part, value]) => new x509.Extension(VEK_OIDS[part as keyof typeof VEK_OIDS], false, value)),
        },
        { name: name(asvk), privateKey: keys.ask, signature: 'rsaPss384' },
    )
    return {
        ...of,
        kind: 'VLEK',
        keys: { ...keys, vcek: privateKey },
        certificates: { ...of.certificates, ask: issuer, vcek: vlek },
        chipId: Buffer.alloc(chipId.length),
    }
}

export const named = (name: string, bytes: Buffer): NamedBytes => ({ name, bytes })

/** Trust in this vendor alone, with its revocation list. */
export const trustIn = ({ certificates, list }: Vendor, changed: Partial<Trust> = {}): Trust => ({
    ...STRICT_TRUST,
    roots: [named('ark', certificates.ark)],
    certificates: [named('ask', certificates.ask)],
    revocationLists: [named('crl', list)],
    ...changed,
})

export const verifierOf = (of: Vendor, changed: Partial<Trust> = {}): Verifier => snpVerifier(trustIn(of, changed))
