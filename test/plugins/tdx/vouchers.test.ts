// Whose word counts: quoting enclaves without an identity, statements under several roots, keys that were certified twice,
// and certificates that are written in several ways.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { toHex } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { certificatePem } from '#core/mint.ts'
import type { Trust } from '#evidence/verifier.ts'
import { chainBytes } from '#plugins/tdx/chain.ts'
import { TD_QE } from '#plugins/tdx/qe.ts'
import { parseQuote, QE_REPORT } from '#plugins/tdx/quote.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { identityOf, infoOf, listsOf, named, serialOf, vendor, withLists } from './minted.ts'
import { cases, judgedBy, testAuthentic, testRefused } from './refused.ts'

const intel = await vendor()
const foreign = await vendor()
/** The same keys, certified again. */
const again = await vendor(intel.keys)

const alone = (statements: Trust['statements']): Partial<Trust> => ({ statements, withoutStatus: true })
const other = { qeReport: { mrSigner: Buffer.alloc(32, 0x66) } }

const both: Partial<Trust> = {
    roots: [intel, foreign].map((of) => named('root', of.certificates.root)),
    certificates: [intel, foreign].map((of) => named('tcb-signing', of.certificates.tcbSigning)),
    revocationLists: [intel, foreign].flatMap((of) => listsOf(of.lists)),
}
const HIGHER = { tcbEvaluationDataNumber: 99 }

const twins = (role: 'platform' | 'tcbSigning'): Partial<Trust> => ({
    certificates: [intel.certificates.tcbSigning, again.certificates[role]].map((der) => named('given', der)),
})
const revoking = async (role: 'platform' | 'tcbSigning'): Promise<Partial<Trust>> => ({
    ...twins(role),
    revocationLists: listsOf(await withLists(intel, { root: { revoked: [serialOf(again.certificates[role])] } })),
})
const [caRevoked, signerRevoked] = await Promise.all([revoking('platform'), revoking('tcbSigning')])

testRefused(intel, [
    ...cases('ERR_TDX_COLLATERAL_MISSING', 'qe-identity', [
        { name: 'an enclave of anybody, without statements', quote: other, trust: alone([]) },
        { name: 'an enclave of anybody, with TCB info alone', quote: other, trust: alone([infoOf(intel)]) },
        {
            name: "another enclave of Intel's",
            quote: { qeReport: { isvProdId: 1 } },
            trust: alone([]),
        },
    ]),
    ...cases('ERR_TDX_COLLATERAL', 'collateral', [
        {
            name: 'statements under another root',
            trust: { ...both, statements: [infoOf(foreign), identityOf(foreign)] },
        },
        {
            name: 'an identity under another root',
            trust: { ...both, statements: [infoOf(intel), identityOf(foreign)] },
        },
    ]),
    ...cases('ERR_TDX_REVOKED', 'revocation', [
        { name: 'another certificate of the key of the CA', trust: caRevoked },
        {
            name: 'the same, of which the quote brings none',
            quote: { certification: { type: 5, data: Buffer.from(certificatePem(intel.certificates.pck)) } },
            trust: {
                ...caRevoked,
                certificates: [...(caRevoked.certificates ?? []), named('ca', intel.certificates.platform)],
            },
        },
    ]),
    ...cases('ERR_TDX_REVOKED', 'collateral', [
        { name: 'another certificate of the key that signs statements', trust: signerRevoked },
    ]),
])

testAuthentic(intel, [
    { name: 'TCB info alone, and the enclave that is known', trust: alone([infoOf(intel)]) },
    {
        name: 'statements under both roots: each speaks of its own platforms',
        trust: {
            ...both,
            statements: [intel, foreign].flatMap((of) => [
                infoOf(of, of === foreign ? HIGHER : {}),
                identityOf(of, of === foreign ? HIGHER : {}),
            ]),
        },
    },
    { name: 'a CA that was certified twice', trust: twins('platform') },
    { name: 'a signer of statements that was certified twice', trust: twins('tcbSigning') },
])

test('what another root says of the same platforms decides nothing', (t) => {
    const trust = { ...both, statements: [infoOf(intel), identityOf(intel), infoOf(foreign, HIGHER)] }
    t.is(judgedBy(intel)({ name: '', trust }).authentic?.platform.tcbInfoEvaluationDataNumber, 18)
})

test('a chain is the same however it is written', (t) => {
    const { pck, platform, root } = intel.certificates
    const text = (ders: readonly Buffer[]) => ders.map(certificatePem).join('')
    const plain = chainBytes(Buffer.from(text([pck, platform, root])))
    t.is(plain.length, 3)
    for (const written of [
        text([root, pck, platform]),
        `${text([pck, platform, root])}\0`,
        text([pck, platform, root]).replaceAll('\n', '\r\n'),
        text([pck, platform, root]).replaceAll('M', ' M\n'),
    ])
        t.deepEqual(chainBytes(Buffer.from(written)), plain)
    t.deepEqual(chainBytes(Buffer.from(text([pck, platform, pck]))), chainBytes(Buffer.from(text([pck, platform]))))
    t.notDeepEqual(chainBytes(Buffer.from(text([pck, platform]))), plain)
})

/** Of an enclave of another signer, with which a library was tried. */
const SAMPLES: readonly string[] = ['intel-qvl--quote.dat']

needs(vectors('snp-tdx/tdx'))('real: quotes come from the enclave that is known', (t) => {
    const folder = join(VECTORS, 'snp-tdx/tdx')
    const strangers: string[] = []
    let known = 0
    for (const name of readdirSync(folder)) {
        const enclave = enclaveOf(readFileSync(join(folder, name)))
        if (!enclave) continue
        const { mrSigner, isvProdId } = enclave
        if (toHex(mrSigner) === TD_QE.mrSigner && isvProdId === TD_QE.isvProdId) known++
        else strangers.push(name)
    }
    t.true(known > 10, `${known}`)
    t.deepEqual(strangers, SAMPLES)
})

// Null: no quote.
function enclaveOf(raw: Buffer) {
    try {
        return QE_REPORT.parse(parseQuote(raw).qeReport)
    } catch (error) {
        if (error instanceof AttestError) return null
        throw error
    }
}

test('an enclave that is unknown is judged by its identity', (t) => {
    const statements = [infoOf(intel), identityOf(intel, { mrsigner: '66'.repeat(32) })]
    t.is(judgedBy(intel)({ name: '', quote: other, trust: { statements } }).code, null)
    t.is(judgedBy(intel)({ name: '', quote: other }).code, 'ERR_TDX_QE')
})
