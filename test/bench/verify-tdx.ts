// Verification of TDX quotes against the one operation that cannot be left out: verifying ECDSA on P-256 with a key that is
// ready. Lists and statements have been read, as in a broker.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, sign, verify } from 'node:crypto'
import type { Evidence } from '#drivers/driver.ts'
import { judge } from '#evidence/judge.ts'
import { DEFAULT_PLATFORM, mintChain } from '#plugins/tdx/mint/mint.ts'
import { mintQuote } from '#plugins/tdx/mint/quote.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { quote, trustIn, type Vendor, vendor } from '../plugins/tdx/minted.ts'
import { atMost, inTurn, milliseconds, type Row } from './table.ts'

const ROUNDS = 61
const CALLS = 40

/** How many bytes of a quote are signed. */
const SIGNED = 632

export async function benchVerifyTdx(): Promise<Row[]> {
    const intel = await vendor()
    const evidence = { tee: 'tdx', report: quote(intel) }
    const warm = tdxVerifier(trustIn(intel))
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const
    const data = evidence.report.subarray(0, SIGNED)
    const signature = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' })

    const each = (work: (i: number) => void) => () =>
        milliseconds(() => {
            for (let i = 0; i < CALLS; i++) work(i)
        })
    const bare = each(() => void verify('sha256', data, key, signature))
    const warmly = each(() => void judge(warm, evidence, {}, intel.now))
    // Platforms that were never met: certificate, quoting enclave and keys from their bytes.
    const platforms = await Promise.all(Array.from({ length: CALLS }, (_, i) => platform(intel, i)))
    const fully = () => {
        const verifier = tdxVerifier(trustIn(intel))
        judge(verifier, evidence, {}, intel.now)
        return each((i) => void judge(verifier, platforms[i] as Evidence, {}, intel.now))()
    }
    await inTurn(30, warmly, fully) // compiled by then, as in a broker that has served for a while
    const [warmMs, bareMs] = await inTurn(ROUNDS, warmly, bare)
    const [fullMs, bareAgainMs] = await inTurn(ROUNDS, fully, bare)
    const what = 'bare P-256 verification with a ready key'
    return [
        atMost('TDX verification, platform known', what, warmMs / CALLS, bareMs / CALLS, 3.3, 'ms'),
        atMost('TDX verification, new platform', what, fullMs / CALLS, bareAgainMs / CALLS, 20, 'ms'),
    ]
}

async function platform(of: Vendor, index: number): Promise<Evidence> {
    const make = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const keys = { ...of.keys, pck: make(), attestation: make() }
    const ppid = Buffer.alloc(16, index + 1)
    const minted = await mintChain(keys, { ...DEFAULT_PLATFORM, ppid }, of.now)
    // Under the CA that is known: in the field a few of them stand above every platform.
    const certificates = { ...of.certificates, pck: minted.pck }
    return { tee: 'tdx', report: mintQuote({ keys, certificates }) }
}
