// Revocation lists of Intel's root and of the CA that issued a PCK certificate (RFC 5280 §5). A list of an authority
// has its name, byte by byte, and its signature. Every one counts, stale ones too; whether the newest has expired is
// told.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes } from '#core/bytes.ts'
import { parseRevocationList, type RevocationList } from '#core/x509.ts'
import type { NamedBytes } from '#evidence/verifier.ts'
import type { Authority, PckChain } from '../chain.ts'
import { tdxError } from '../errors.ts'

/** A list that was read. */
export interface GivenList {
    readonly name: string
    readonly list: RevocationList & { readonly nextUpdate: Date }
    /** Whether that authority has signed it; worked out once for each. */
    readonly signedBy: (authority: Authority) => boolean
}

export type RevocationLists = readonly GivenList[]

/** The newest list of an authority that was issued by a time. */
export interface NewestList {
    readonly name: string
    readonly number: string | null
    readonly nextUpdate: Date
}

/** What the lists say of a chain; null for a list that was not given. */
export interface Revocation {
    readonly root: NewestList | null
    readonly pck: NewestList | null
}

/** @throws AttestError ERR_CERTIFICATE, ERR_TDX_CRL */
export const readLists = (given: readonly NamedBytes[]): RevocationLists =>
    given.map(({ name, bytes }) => {
        const list = parseRevocationList(bytes, name)
        const { nextUpdate } = list
        if (!nextUpdate) throw tdxError('ERR_TDX_CRL', `the revocation list ${name} does not say when the next comes`)
        const known = new WeakMap<Authority, boolean>()
        return {
            name,
            list: { ...list, nextUpdate },
            signedBy(authority) {
                const answer = known.get(authority) ?? list.verify(authority.key)
                known.set(authority, answer)
                return answer
            },
        }
    })

/** @throws AttestError ERR_TDX_CRL, ERR_TDX_REVOKED, ERR_TDX_COLLATERAL_TIME where all are of the future */
export function checkRevocation({ pck, ca, twins }: PckChain, lists: RevocationLists, at: Date): Revocation {
    const { certificate } = pck
    return {
        root: checkNotRevoked(ca.root, [...twins, ca.root], lists, at),
        pck: checkNotRevoked(ca, [{ cn: certificate.subjectCn, serial: certificate.serial }], lists, at),
    }
}

/**
 * Whether an authority has revoked one of these. Null where no list of its was given.
 * @throws AttestError as `checkRevocation`
 */
export function checkNotRevoked(
    authority: Authority,
    subjects: readonly Pick<Authority, 'cn' | 'serial'>[],
    lists: RevocationLists,
    at: Date,
): NewestList | null {
    const named = lists.filter(({ list }) => equalBytes(list.issuerName, authority.name))
    const own = named.filter(({ signedBy }) => signedBy(authority))
    const [other] = named
    if (!other) return null
    if (own.length === 0)
        throw tdxError('ERR_TDX_CRL', `the revocation list ${other.name} is not signed by ${authority.cn}`)
    for (const { name, list } of own)
        for (const { cn, serial } of subjects)
            if (list.revoked.has(serial))
                throw tdxError('ERR_TDX_REVOKED', `${cn} (serial ${serial}) is revoked by ${name}`)
    const issued = own.filter(({ list }) => list.thisUpdate <= at)
    const [first, ...more] = issued
    if (!first)
        throw tdxError(
            'ERR_TDX_COLLATERAL_TIME',
            `no revocation list of ${authority.cn} is valid yet at ${at.toISOString()}`,
        )
    const newest = more.reduce((best, one) => (one.list.nextUpdate > best.list.nextUpdate ? one : best), first)
    return { name: newest.name, number: newest.list.number, nextUpdate: newest.list.nextUpdate }
}
