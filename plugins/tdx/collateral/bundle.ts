// All that quotes of one platform are judged by as one JSON file of nine fields, in which verifiers hand it to each
// other: statements as the text that was signed, chains as PEM with the root last, revocation lists as DER in hex.
// SPDX-License-Identifier: Apache-2.0

import type { Certificate } from '#core/x509.ts'
import type { GivenCollateral } from '#evidence/collateral-service.ts'
import type { Authority, Issued } from '../chain.ts'
import { tdxError } from '../errors.ts'
import { PCK_CAS } from '../pck.ts'
import { statementsFor } from './collateral.ts'
import { type OpenedCollateral, openCollateral } from './outlook.ts'
import { listDer } from './revocation-form.ts'

/**
 * @throws AttestError ERR_TDX_COLLATERAL_MISSING, and as `openCollateral`: what is not signed as it must be is not handed
 * on
 */
export function makeBundle(given: GivenCollateral, fmspc: string, at: Date): Buffer {
    const opened = openCollateral(given)
    const { tcbInfo: info, qeIdentity: identity } = statementsFor(opened, { fmspc }, at)
    if (!info) throw missing(`TCB info of ${fmspc}`)
    if (!identity) throw missing('QE identity')
    const bytes = [...given.revocationLists, ...opened.statements.revocationLists].map((list) => list.bytes)
    const { ca, list } = pckList(opened)
    const rootList = newest(opened, ca.root)
    if (!rootList) throw missing(`revocation list of ${ca.root.cn}`)
    const hex = (index: number): string => listDer(bytes[index] ?? Buffer.alloc(0)).toString('hex')
    const fields = {
        pck_crl_issuer_chain: chainOf(opened, ca),
        root_ca_crl: hex(opened.lists.indexOf(rootList)),
        pck_crl: hex(opened.lists.indexOf(list)),
        tcb_info_issuer_chain: chainOf(opened, opened.verifyStatement(info, at).signer),
        tcb_info: info.signed.toString('utf8'),
        tcb_info_signature: info.signature.toString('hex'),
        qe_identity_issuer_chain: chainOf(opened, opened.verifyStatement(identity, at).signer),
        qe_identity: identity.signed.toString('utf8'),
        qe_identity_signature: identity.signature.toString('hex'),
    }
    return Buffer.from(`${JSON.stringify(fields, null, 4)}\n`)
}

// One file holds the list of one CA: that of most platforms, or the one that is there.
function pckList(opened: OpenedCollateral) {
    for (const cn of Object.keys(PCK_CAS))
        for (const ca of opened.anchors.cas.filter((one) => one.cn === cn)) {
            const list = newest(opened, ca)
            if (list) return { ca, list }
        }
    throw missing('revocation list of a CA of PCK certificates')
}

const newest = ({ lists }: OpenedCollateral, authority: Authority) =>
    lists
        .filter(({ list, signedBy }) => authority.name.equals(list.issuerName) && signedBy(authority))
        .toSorted((a, b) => b.list.nextUpdate.getTime() - a.list.nextUpdate.getTime())[0]

function chainOf({ certificates }: OpenedCollateral, { certificate, root }: Issued): string {
    const above = certificates.find((one) => one.subjectCn === root.cn && one.publicKey.equals(root.key))
    if (!above) throw missing(`certificate of ${root.cn}`)
    return pem(certificate) + pem(above)
}

/** As a file has it. */
export const pem = ({ x509 }: Certificate): string => `${x509.toString().trimEnd()}\n`

const missing = (what: string) => tdxError('ERR_TDX_COLLATERAL_MISSING', `no ${what} is there`)
