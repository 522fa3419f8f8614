// Robustness: flipped bits of real quotes are refused, and ten thousand random or mutated inputs end in a verdict or in an
// error that says why. Nothing else may be thrown.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { bundle, qeIdentity, signStatement, tcbInfo } from '#plugins/tdx/mint/statements.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { judgeOf } from './judged.ts'
import { named, quote, trustIn, vendor } from './minted.ts'

const REAL = 'snp-tdx/tdx/go-tdx-guest--quote_v5_sample.dat'
const BUNDLE = 'snp-tdx/derived/collateral-G-2026-03-17-90c06f000000.json'
const AT = new Date('2026-03-17T12:00:00Z')

const minted = await vendor()
const judge = judgeOf(trustIn(minted))
const good = [quote(minted), quote(minted, { version: 5, bodyType: 3 }), quote(minted, { version: 5, bodyType: 4 })]

const below = (limit: number): number => randomBytes(4).readUInt32LE() % limit

function flipped(bytes: Buffer, bit: number): Buffer {
    const out = Buffer.from(bytes)
    out[bit >> 3] = (out[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    return out
}

function mutated(source: Buffer): Buffer {
    const bytes = Buffer.from(source.subarray(0, below(4) > 0 ? source.length : 1 + below(source.length)))
    for (let n = below(8); n >= 0; n--) bytes[below(bytes.length)] = below(256)
    return bytes
}

needs(vectors(REAL, BUNDLE))('flipped bits before the certificates of a real quote are all refused', (t) => {
    const raw = readFileSync(join(VECTORS, REAL))
    const statements = [named('bundle', readFileSync(join(VECTORS, BUNDLE)))]
    const judge = judgeOf({ ...STRICT_TRUST, statements })
    t.is(judge(raw, AT).code, null)
    const { size, certification } = parseQuote(raw)
    const certificates = size - certification.data.length
    for (let i = 0; i < 1000; i++) {
        const bit = below(certificates * 8)
        const { code, authentic } = judge(flipped(raw, bit), AT)
        if (authentic || !code?.startsWith('ERR_')) t.fail(`bit ${bit}: ${code}`)
    }
    // In the certificates some bits are line ends, and the root is the built-in one whatever its own signature is.
    for (let i = 0; i < 300; i++) {
        const bit = certificates * 8 + below(certification.data.length * 8)
        const { code, authentic } = judge(flipped(raw, bit), AT)
        t.is(authentic ? null : 'refused', code ? 'refused' : null)
        if (authentic) t.is(authentic.platform.fmspc, '90c06f000000')
    }
})

needs(vectors(REAL, BUNDLE))('flipped bits of real statements are all refused', (t) => {
    const raw = readFileSync(join(VECTORS, REAL))
    const text = readFileSync(join(VECTORS, BUNDLE), 'utf8')
    const { tcb_info, qe_identity } = JSON.parse(text) as Record<string, string>
    for (let i = 0; i < 150; i++) {
        const field = i % 2 === 0 ? 'tcb_info' : 'qe_identity'
        const inner = Buffer.from((i % 2 === 0 ? tcb_info : qe_identity) ?? '')
        const bad = flipped(inner, below(inner.length) * 8 + below(7)).toString('latin1')
        const bytes = JSON.stringify({ ...(JSON.parse(text) as object), [field]: bad })
        const { code, authentic } = judgeOf({ ...STRICT_TRUST, statements: [named('bundle', bytes)] })(raw, AT)
        t.regex(code ?? '', /^ERR_/)
        // A flip in the identifier, the FMSPC or the dates makes it another statement, which is as good as none.
        t.true(authentic === null || authentic.platform.tcbStatus === null, code ?? '')
    }
})

test('10 000 random inputs: nothing crashes, nothing is authentic', (t) => {
    const noise = fc.uint8Array({ maxLength: 3000 }).map((b) => Buffer.from(b))
    const text = fc.string({ maxLength: 2000, unit: 'binary' }).map((s) => Buffer.from(s))
    // Bytes that begin as a quote does come further.
    const almost = fc
        .tuple(fc.constantFrom(...good), fc.nat(1300), fc.uint8Array({ maxLength: 2000 }))
        .map(([quote, keep, rest]) => Buffer.concat([quote.subarray(0, keep), rest]))
    fc.assert(
        fc.property(fc.oneof(noise, text, almost), (bytes) => judge(bytes, minted.now).authentic === null),
        { numRuns: 10_000 },
    )
    t.pass()
})

test('10 000 mutated and cut quotes: nothing crashes', (t) => {
    let refused = 0
    for (let i = 0; i < 10_000; i++) {
        const { code } = judge(mutated(good[i % good.length] as Buffer), minted.now)
        if (code) refused++
    }
    t.true(refused > 9000)
})

test('mutated statements and lists: nothing crashes', (t) => {
    const { keys, certificates, lists, now } = minted
    const signed = [tcbInfo(now), qeIdentity(now)].map((content) => signStatement(content, keys.tcbSigning))
    const [info, identity] = signed
    if (!info || !identity) return t.fail()
    const statements = Buffer.from(JSON.stringify(bundle(certificates, lists, info, identity)))
    let refused = 0
    for (let i = 0; i < 500; i++) {
        const trust = trustIn(minted, {
            certificates: [],
            revocationLists: [],
            statements: [named('x', mutated(statements))],
        })
        if (judgeOf(trust)(good[0] as Buffer, now).code) refused++
        const list = trustIn(minted, { revocationLists: [named('root', lists.root), named('pck', mutated(lists.pck))] })
        if (judgeOf(list)(good[0] as Buffer, now).code) refused++
    }
    t.true(refused > 500)
})
