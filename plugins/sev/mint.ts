// An emulated vendor of SEV: ARK → ASK → CEK → PEK ← OCA, and PDH. Its root is none of AMD's, so nothing of it is believed
// unless it is named. What these keys sign proves nothing of hardware.
// SPDX-License-Identifier: Apache-2.0

import { constants, createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { encodeAmdCertificate } from './chain/amd-certs.ts'
import { type CertificateSigner, makeCertificate } from './chain/certs.ts'
import type { FirmwareVersion } from './chain/firmware.ts'

const newKeyPair = promisify(generateKeyPair)

/** Private keys of everybody. */
export interface PlatformKeys {
    readonly ark: KeyObject
    readonly ask: KeyObject
    readonly cek: KeyObject
    readonly oca: KeyObject
    readonly pek: KeyObject
    readonly pdh: KeyObject
}

export interface PlatformCertificates {
    readonly ark: Buffer
    readonly ask: Buffer
    /** As AMD's service hands it out. */
    readonly cek: Buffer
    /** As hosts export it. */
    readonly unsignedCek: Buffer
    readonly oca: Buffer
    readonly pek: Buffer
    readonly pdh: Buffer
}

/** New keys; those of 4096 bits take about a second. */
export async function generatePlatformKeys(): Promise<PlatformKeys> {
    const rsa = () => newKeyPair('rsa', { modulusLength: 4096 })
    const ec = () => newKeyPair('ec', { namedCurve: 'secp384r1' })
    const pairs = await Promise.all([rsa(), rsa(), ec(), ec(), ec(), ec()])
    const [ark, ask, cek, oca, pek, pdh] = pairs.map(({ privateKey }) => privateKey) as [
        KeyObject,
        KeyObject,
        KeyObject,
        KeyObject,
        KeyObject,
        KeyObject,
    ]
    return { ark, ask, cek, oca, pek, pdh }
}

/** The chain of a platform. */
export function mintPlatform(keys: PlatformKeys, version: FirmwareVersion): PlatformCertificates {
    const own = (usage: 'OCA' | 'PEK' | 'CEK', privateKey: KeyObject): CertificateSigner => ({
        usage,
        algorithm: 'ECDSA_SHA256',
        privateKey,
    })
    const signing = (usage: 'OCA' | 'PEK' | 'CEK', key: KeyObject, signers: readonly CertificateSigner[]) =>
        makeCertificate({ usage, algorithm: 'ECDSA_SHA256', publicKey: createPublicKey(key), ...version }, signers)
    const vendor: CertificateSigner = { usage: 'ASK', algorithm: 'RSA_SHA384', privateKey: keys.ask }
    return {
        ark: mintAmd('ARK', keys.ark, keys.ark),
        ask: mintAmd('ASK', keys.ask, keys.ark),
        cek: signing('CEK', keys.cek, [vendor]),
        unsignedCek: signing('CEK', keys.cek, []),
        oca: signing('OCA', keys.oca, [own('OCA', keys.oca)]),
        pek: signing('PEK', keys.pek, [own('OCA', keys.oca), own('CEK', keys.cek)]),
        pdh: makeCertificate(
            { usage: 'PDH', algorithm: 'ECDH_SHA256', publicKey: createPublicKey(keys.pdh), ...version },
            [own('PEK', keys.pek)],
        ),
    }
}

function mintAmd(usage: 'ARK' | 'ASK', subject: KeyObject, issuer: KeyObject): Buffer {
    const body = encodeAmdCertificate(usage, createPublicKey(subject), createPublicKey(issuer))
    const value = sign('sha384', body, { key: issuer, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 })
    return Buffer.concat([body, value.reverse()])
}
