// The certificate of the key that signs for a platform (PCK), and its SGX extension.
// Intel SGX PCK Certificate and CRL Profile Specification, rev 1.5, §1.3.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { AttestError } from '#core/errors.ts'
import { type Certificate, type DerValue, derBoolean, derInteger, derOctets, derValues } from '#core/x509.ts'
import { tdxError } from './errors.ts'
import type { Platform } from './platform.ts'

export const PCK_CN = 'Intel SGX PCK Certificate'

export interface Pck
    extends Pick<
        Platform,
        | 'fmspc'
        | 'pceId'
        | 'ppidHash'
        | 'pckCa'
        | 'sgxType'
        | 'dynamicPlatform'
        | 'cachedKeys'
        | 'smtEnabled'
        | 'pceSvn'
    > {
    readonly certificate: Certificate
    /** The SVNs of the 16 components of the platform's SGX TCB. */
    readonly sgxSvns: Buffer
    readonly emulated: boolean
}

/** Who may issue a PCK certificate, and how many members its SGX extension has then. */
export const PCK_CAS: Readonly<Record<string, { readonly ca: Platform['pckCa']; readonly members: number }>> = {
    'Intel SGX PCK Platform CA': { ca: 'platform', members: 7 },
    'Intel SGX PCK Processor CA': { ca: 'processor', members: 5 },
}

const SGX = '1.2.840.113741.1.13.1'

const SGX_TYPES: readonly Platform['sgxType'][] = ['Standard', 'Scalable', 'ScalableWithIntegrity']

const COMPONENTS = 16

/** @throws AttestError ERR_TDX_PCK, ERR_TDX_CHAIN */
export function readPck(certificate: Certificate): Pck {
    const { extensions, issuerCn } = certificate
    const issuer = PCK_CAS[issuerCn]
    if (!issuer) throw tdxError('ERR_TDX_CHAIN', `the issuer ${JSON.stringify(issuerCn)} issues no PCK certificates`)
    const extension = extensions.get(SGX)
    if (!extension) throw tdxError('ERR_TDX_PCK', `the SGX extension (${SGX}) is missing`)
    try {
        return { certificate, emulated: extensions.has(EMULATION_OID), ...readExtension(extension, issuer) }
    } catch (error) {
        if (!(error instanceof AttestError) || error.code !== 'ERR_CERTIFICATE') throw error
        throw tdxError('ERR_TDX_PCK', error.message, { cause: error })
    }
}

function readExtension(der: Buffer, { ca, members }: (typeof PCK_CAS)[string]) {
    const all = derValues(der, 'SGX extension')
    if (all.size !== members)
        throw tdxError(
            'ERR_TDX_PCK',
            `the SGX extension of a certificate by the ${ca} CA has ${members} members, got ${all.size}`,
        )
    const tcb = derValues(member(all, '2'), 'SGX extension, TCB')
    if (tcb.size !== COMPONENTS + 2)
        throw tdxError('ERR_TDX_PCK', `the SGX extension's TCB has ${COMPONENTS + 2} members, got ${tcb.size}`)
    octets(tcb, '2.18', 16) // CPUSVN, which repeats the components
    const sgxType = SGX_TYPES[derInteger(member(all, '5'), 'SGX type')]
    if (!sgxType) throw tdxError('ERR_TDX_PCK', `SGX type: expected 0 to ${SGX_TYPES.length - 1}`)
    return {
        ppidHash: hash('sha256', octets(all, '1', 16)),
        sgxSvns: Buffer.from(Array.from({ length: COMPONENTS }, (_, i) => integer(tcb, `2.${i + 1}`, 0xff))),
        pceSvn: integer(tcb, '2.17', 0xffff),
        pceId: toHex(octets(all, '3', 2)),
        fmspc: toHex(octets(all, '4', 6)),
        sgxType,
        pckCa: ca,
        ...(ca === 'platform' ? readConfiguration(all) : UNKNOWN_CONFIGURATION),
    }
}

const UNKNOWN_CONFIGURATION = { dynamicPlatform: null, cachedKeys: null, smtEnabled: null }

function readConfiguration(all: ReadonlyMap<string, DerValue>) {
    octets(all, '6', 16) // the platform's instance
    const configuration = derValues(member(all, '7'), 'SGX extension, configuration')
    const flag = (arc: string) => derBoolean(member(configuration, arc), `SGX extension ${arc}`)
    return { dynamicPlatform: flag('7.1'), cachedKeys: flag('7.2'), smtEnabled: flag('7.3') }
}

function member(all: ReadonlyMap<string, DerValue>, arc: string): DerValue {
    const value = all.get(`${SGX}.${arc}`)
    if (value) return value
    throw tdxError('ERR_TDX_PCK', `SGX extension: ${SGX}.${arc} is missing`)
}

function integer(all: ReadonlyMap<string, DerValue>, arc: string, most: number): number {
    const value = derInteger(member(all, arc), `SGX extension ${arc}`)
    if (value >= 0 && value <= most) return value
    throw tdxError('ERR_TDX_PCK', `SGX extension ${arc}: expected 0 to ${most}, got ${value}`)
}

function octets(all: ReadonlyMap<string, DerValue>, arc: string, size: number): Buffer {
    const value = derOctets(member(all, arc), `SGX extension ${arc}`)
    if (value.length === size) return value
    throw tdxError('ERR_TDX_PCK', `SGX extension ${arc}: expected ${size} bytes, got ${value.length}`)
}
