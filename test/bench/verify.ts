// Verification of SNP reports against the one operation that cannot be left out: verifying ECDSA on P-384 with a key that
// is ready.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, sign, verify } from 'node:crypto'
import type { Evidence } from '#drivers/driver.ts'
import { judge } from '#evidence/judge.ts'
import { generateVendorKeys, mintChain } from '#plugins/snp/mint.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { report, table, trustIn, type Vendor, vendor } from '../plugins/snp/minted.ts'
import { atMost, inTurn, milliseconds, type Row } from './table.ts'

const ROUNDS = 61
const CALLS = 20

export async function benchVerify(): Promise<Row[]> {
    const keys = await generateVendorKeys()
    const genoa = await vendor('genoa', keys)
    const evidence = { tee: 'snp', report: report(genoa), certificates: table(genoa) }
    const warm = snpVerifier(trustIn(genoa))
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
    const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const
    const data = evidence.report.subarray(0, 0x2a0)
    const signature = sign('sha384', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })

    const each = (work: (i: number) => void) => () =>
        milliseconds(() => {
            for (let i = 0; i < CALLS; i++) work(i)
        })
    const bare = each(() => void verify('sha384', data, key, signature))
    const warmly = each(() => void judge(warm, evidence, {}, genoa.now))
    // Chips that were never met: certificate, chain and key from their bytes. The vendor's keys and list are read before.
    const chips = await Promise.all(Array.from({ length: CALLS }, (_, i) => chip(genoa, i)))
    const fully = () => {
        const verifier = snpVerifier(trustIn(genoa))
        judge(verifier, evidence, {}, genoa.now)
        return each((i) => void judge(verifier, chips[i] as Evidence, {}, genoa.now))()
    }
    await inTurn(30, warmly, fully) // compiled by then, as in a broker that has served for a while
    const [warmMs, bareMs] = await inTurn(ROUNDS, warmly, bare)
    const [fullMs, bareAgainMs] = await inTurn(ROUNDS, fully, bare)
    const what = 'bare P-384 verification with a ready key'
    return [
        atMost('SNP verification, chip known', what, warmMs / CALLS, bareMs / CALLS, 1.1, 'ms'),
        atMost('SNP verification, new chip', what, fullMs / CALLS, bareAgainMs / CALLS, 2.4, 'ms'),
    ]
}

async function chip(of: Vendor, index: number): Promise<Evidence> {
    const chipId = Buffer.alloc(64, index + 1)
    const own = { ...of, chipId, certificates: await mintChain(of.generation, of.keys, chipId, of.now) }
    return { tee: 'snp', report: report(own), certificates: table(own) }
}
