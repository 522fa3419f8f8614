// Verification of SNP reports against the one operation that cannot be left out: verifying ECDSA on P-384 with a key that
// is ready.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { judge } from '#evidence/judge.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { report, table, trustIn, vendor } from '../plugins/snp/minted.ts'
import { atMost, inTurn, milliseconds, type Row } from './table.ts'

const ROUNDS = 41
const CALLS = 20

export async function benchVerify(): Promise<Row[]> {
    const genoa = await vendor('genoa', await generateVendorKeys())
    const evidence = { tee: 'snp', report: report(genoa), certificates: table(genoa) }
    const warm = snpVerifier(trustIn(genoa))
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
    const key = {
        key: createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })),
        dsaEncoding: 'ieee-p1363',
    } as const
    const data = evidence.report.subarray(0, 0x2a0)
    const signature = sign('sha384', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })

    const each = (work: () => void) => () =>
        milliseconds(() => {
            for (let i = 0; i < CALLS; i++) work()
        })
    const bare = each(() => void verify('sha384', data, key, signature))
    const warmly = each(() => void judge(warm, evidence, {}, genoa.now))
    const trust = trustIn(genoa)
    // Everything from its bytes each time: roots, intermediates, list, chain and report.
    const fully = each(() => void judge(snpVerifier(trust), evidence, {}, genoa.now))
    await inTurn(5, warmly, fully)
    const [warmMs, bareMs] = await inTurn(ROUNDS, warmly, bare)
    const [fullMs, bareAgainMs] = await inTurn(ROUNDS, fully, bare)
    const what = 'bare P-384 verification with a ready key'
    return [
        atMost('SNP verification, chain known', what, warmMs / CALLS, bareMs / CALLS, 1.1, 'ms'),
        atMost('SNP verification, everything from bytes', what, fullMs / CALLS, bareAgainMs / CALLS, 2.4, 'ms'),
    ]
}
