// An emulated vendor: ARK → ASK → VCEK and a revocation list, as AMD's look (57230 rev 1.05; compared with real ones),
// each with the mark that says that it is none of AMD's. What these keys sign proves nothing of hardware.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { DAY_MS } from '#core/dates.ts'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import {
    encodeIa5,
    encodeInteger,
    encodeUtf8,
    mintCertificate,
    mintRevocationList,
    type NameParts,
    type Signer,
} from '#core/mint.ts'
import type { Generation } from './generations.ts'
import { PRODUCT_LINES, type TcbPart } from './tcb.ts'
import { VEK_OIDS } from './vek.ts'

/** Private keys of the three roles. */
export interface VendorKeys {
    readonly ark: KeyObject
    readonly ask: KeyObject
    readonly vcek: KeyObject
}

/** DER of the three certificates. */
export interface VendorCertificates {
    readonly ark: Buffer
    readonly ask: Buffer
    readonly vcek: Buffer
}

/** How long what is minted holds; all but the list as AMD's. */
const YEARS = { ark: 25, ask: 25, vcek: 7, list: 1 } as const

const newKeyPair = promisify(generateKeyPair)

/** New keys. The two of 4096 bits take about a second; they are made side by side. */
export async function generateVendorKeys(): Promise<VendorKeys> {
    const [ark, ask, vcek] = await Promise.all([
        newKeyPair('rsa', { modulusLength: 4096 }),
        newKeyPair('rsa', { modulusLength: 4096 }),
        newKeyPair('ec', { namedCurve: 'secp384r1' }),
    ])
    return { ark: ark.privateKey, ask: ask.privateKey, vcek: vcek.privateKey }
}

/** The chain for one chip. */
export async function mintChain(
    generation: Generation,
    keys: VendorKeys,
    chipId: Buffer,
    now: Date,
): Promise<VendorCertificates> {
    const { line, serial } = generation
    const root = arkSigner(generation, keys)
    const notBefore = new Date(now.getTime() - DAY_MS) // AMD's key service goes back a day, too
    const publicKeys = { ark: createPublicKey(keys.ark), ask: createPublicKey(keys.ask) }
    const info = { ark: spki(publicKeys.ark), ask: spki(publicKeys.ask) }
    const [ark, ask, vcek] = await Promise.all([
        mintCertificate(
            {
                subject: amdName(`ARK-${line}`),
                publicKey: publicKeys.ark,
                serial: hex(serial),
                notBefore,
                notAfter: yearsAfter(notBefore, YEARS.ark),
                // AMD's have a distribution point; its list is not ours to name.
                extensions: (x509) => [
                    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
                    x509.SubjectKeyIdentifierExtension.create(info.ark),
                    new x509.BasicConstraintsExtension(true, undefined, true),
                    new x509.Extension(EMULATION_OID, false, MARK),
                ],
            },
            root,
        ),
        mintCertificate(
            {
                subject: amdName(`SEV-${line}`),
                publicKey: publicKeys.ask,
                serial: hex(serial + 1),
                notBefore,
                notAfter: yearsAfter(notBefore, YEARS.ask),
                extensions: (x509) => [
                    x509.SubjectKeyIdentifierExtension.create(info.ask),
                    x509.AuthorityKeyIdentifierExtension.create(info.ark),
                    new x509.BasicConstraintsExtension(true, 0, true),
                    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
                    new x509.Extension(EMULATION_OID, false, MARK),
                ],
            },
            root,
        ),
        mintCertificate(
            {
                subject: amdName('SEV-VCEK'),
                publicKey: createPublicKey(keys.vcek),
                serial: '01', // AMD's is 0, which RFC 5280 forbids
                notBefore,
                notAfter: yearsAfter(notBefore, YEARS.vcek),
                extensions: (x509) =>
                    vcekExtensions(generation, chipId).map(([oid, value]) => new x509.Extension(oid, false, value)),
            },
            { name: amdName(`SEV-${line}`), privateKey: keys.ask, signature: 'rsaPss384' },
        ),
    ])
    return { ark, ask, vcek }
}

/** The root's revocation list, which revokes nothing. */
export function mintList(generation: Generation, keys: VendorKeys, now: Date): Promise<Buffer> {
    const thisUpdate = new Date(now.getTime() - DAY_MS)
    const number = Math.floor(now.getTime() / 1000)
    return mintRevocationList(
        { thisUpdate, nextUpdate: yearsAfter(thisUpdate, YEARS.list), revoked: [], number },
        arkSigner(generation, keys),
    )
}

const MARK = encodeUtf8('emulated')

const arkSigner = ({ line }: Generation, { ark }: VendorKeys): Signer => ({
    name: amdName(`ARK-${line}`),
    privateKey: ark,
    signature: 'rsaPss384',
})

const amdName = (cn: string): NameParts => [
    ['OU', 'Engineering'],
    ['C', 'US'],
    ['L', 'Santa Clara'],
    ['ST', 'CA'],
    ['O', 'Advanced Micro Devices'],
    ['CN', cn],
]

/** The last arc of each security version number, in the order of AMD's certificates, by structVersion. */
const SVN_ORDER: Readonly<Record<0 | 1, readonly (TcbPart | 'reserved4' | 'reserved5' | 'reserved6' | 'reserved7')[]>> =
    {
        0: ['bootLoader', 'tee', 'reserved4', 'reserved5', 'reserved6', 'reserved7', 'snp', 'microcode'],
        1: ['fmc', 'bootLoader', 'tee', 'snp', 'reserved5', 'reserved6', 'reserved7', 'microcode'],
    }

const SVN_OIDS = {
    ...VEK_OIDS,
    reserved4: '1.3.6.1.4.1.3704.1.3.4',
    reserved5: '1.3.6.1.4.1.3704.1.3.5',
    reserved6: '1.3.6.1.4.1.3704.1.3.6',
    reserved7: '1.3.6.1.4.1.3704.1.3.7',
}

function vcekExtensions({ line, productName, tcb }: Generation, chipId: Buffer): [oid: string, value: Buffer][] {
    const { structVersion, chipIdSize } = PRODUCT_LINES[line]
    const svns: Readonly<Record<string, number>> = tcb
    return [
        [VEK_OIDS.structVersion, encodeInteger(structVersion)],
        [VEK_OIDS.productName, encodeIa5(productName)],
        ...SVN_ORDER[structVersion].map((part): [string, Buffer] => [SVN_OIDS[part], encodeInteger(svns[part] ?? 0)]),
        [VEK_OIDS.hwId, chipId.subarray(0, chipIdSize)], // as it is, not wrapped
        [EMULATION_OID, MARK],
    ]
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

const hex = (serial: number): string => serial.toString(16).padStart(6, '0')

function yearsAfter(date: Date, years: number): Date {
    const later = new Date(date)
    later.setUTCFullYear(later.getUTCFullYear() + years)
    return later
}
