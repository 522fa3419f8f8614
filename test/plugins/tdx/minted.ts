// A TDX vendor of the tests' own: minted keys, certificates, lists and statements, and quotes that are really signed.
// SPDX-License-Identifier: Apache-2.0

import { parseCertificate } from '#core/x509.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { NamedBytes, Trust } from '#evidence/verifier.ts'
import {
    type ChainChanges,
    DEFAULT_PLATFORM,
    generateVendorKeys,
    type ListChanges,
    mintChain,
    mintLists,
    type VendorCertificates,
    type VendorKeys,
    type VendorLists,
} from '#plugins/tdx/mint/mint.ts'
import { mintQuote, type QuoteChanges } from '#plugins/tdx/mint/quote.ts'
import { qeIdentity, type Signed, signStatement, statementText, tcbInfo } from '#plugins/tdx/mint/statements.ts'

export interface Vendor {
    readonly keys: VendorKeys
    readonly certificates: VendorCertificates
    readonly lists: VendorLists
    /** When everything that was minted holds. */
    readonly now: Date
}

export async function vendor(keys?: VendorKeys, changes: ChainChanges = {}, now = new Date()): Promise<Vendor> {
    const own = keys ?? (await generateVendorKeys())
    return {
        keys: own,
        certificates: await mintChain(own, DEFAULT_PLATFORM, now, changes),
        lists: await mintLists(own, now),
        now,
    }
}

/** This vendor with other lists. */
export const withLists = async (
    of: Vendor,
    changes: { readonly root?: ListChanges; readonly pck?: ListChanges },
): Promise<VendorLists> => mintLists(of.keys, of.now, changes)

export const quote = (of: Vendor, changes: QuoteChanges = {}): Buffer => mintQuote(of, changes)

export const serialOf = (der: Buffer): string => parseCertificate(der, 'minted').serial

export const named = (name: string, bytes: Buffer | string): NamedBytes => ({ name, bytes: Buffer.from(bytes) })

type Content = Readonly<Record<string, unknown>>

/** Signed TCB info; what is changed replaces members. */
export const infoOf = (of: Vendor, changed: Content = {}, options: Parameters<typeof tcbInfo>[1] = {}): NamedBytes =>
    wrap('tcbInfo', signStatement(tcbInfo(of.now, options, changed), of.keys.tcbSigning))

export const identityOf = (
    of: Vendor,
    changed: Content = {},
    times: Parameters<typeof qeIdentity>[1] = {},
): NamedBytes => wrap('enclaveIdentity', signStatement(qeIdentity(of.now, times, changed), of.keys.tcbSigning))

export const wrap = (name: 'tcbInfo' | 'enclaveIdentity', signed: Signed): NamedBytes =>
    named(`${name}.json`, statementText(name, signed))

export const listsOf = ({ root, pck }: VendorLists): NamedBytes[] => [named('root.crl', root), named('pck.crl', pck)]

/** Trust in this vendor alone, with its lists and statements. */
export const trustIn = (of: Vendor, changed: Partial<Trust> = {}): Trust => ({
    ...STRICT_TRUST,
    roots: [named('root', of.certificates.root)],
    certificates: [named('tcb-signing', of.certificates.tcbSigning)],
    revocationLists: listsOf(of.lists),
    statements: [infoOf(of), identityOf(of)],
    ...changed,
})
