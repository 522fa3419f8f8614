// SNP evidence in the protocol's JSON form: real evidence of the reference implementation, round trips, malformed ones.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseJson, stringifyJson } from '#core/json.ts'
import { judge } from '#evidence/judge.ts'
import { recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import { toKbs } from '#plugins/snp/kbs-evidence.ts'
import { fromKbs } from '#plugins/snp/kbs-evidence-schema.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { report, resign, table, vendor } from './minted.ts'

const keys = await generateVendorKeys()
const vendors = [await vendor('milan', keys), await vendor('genoa', keys), await vendor('turin', keys)]
const [milan, genoa] = vendors as [(typeof vendors)[0], (typeof vendors)[0]]

const REAL = 'kbs/trustee/attestation-service/tests/e2e/evidence.json'

needs(vectors(REAL))("the reference implementation's evidence is authentic, and is written as it came", (t) => {
    const bytes = readFileSync(join(VECTORS, REAL))
    const verifier = snpVerifier({ ...STRICT_TRUST, withoutRevocation: true })
    const { evidence } = recognise(bytes, [verifier])
    t.is(judge(verifier, evidence, {}, new Date('2026-06-01T00:00:00Z')).verdict, 'authentic')
    const original = JSON.parse(bytes.toString()) as { attestation_report: object; cert_chain: object }
    const written = JSON.parse(stringifyJson(toKbs(evidence))) as typeof original
    // It is older than the mitigation vectors, which are null in a report of version 3.
    const { launch_mit_vector, current_mit_vector, ...rest } = written.attestation_report as Record<string, unknown>
    t.deepEqual([launch_mit_vector, current_mit_vector], [null, null])
    t.deepEqual(rest, original.attestation_report)
    t.deepEqual(Object.keys(rest), Object.keys(original.attestation_report))
    t.deepEqual(written.cert_chain, original.cert_chain)
})

for (const one of vendors)
    test(`${one.generation.line}: there and back is the same`, (t) => {
        const evidence = { tee: 'snp', report: report(one), certificates: table(one) }
        const text = stringifyJson(toKbs(evidence))
        t.deepEqual(fromKbs(parseJson(text, { title: 't', maxBytes: 1 << 20 })), evidence)
    })

test('words that a double cannot hold survive', (t) => {
    const raw = report(genoa, { launchMitVector: 0xffffffffffffffffn, currentMitVector: 0x8000000000000001n })
    const back = fromKbs(parseJson(stringifyJson(toKbs({ tee: 'snp', report: raw })), { title: 't' }))
    t.deepEqual(back?.report, raw)
})

test('version 2 has no CPUID and no mitigations', (t) => {
    const raw = report(milan, { version: 2 })
    const json = toKbs({ tee: 'snp', report: raw }) as {
        attestation_report: Record<string, unknown>
        cert_chain: unknown
    }
    t.like(json.attestation_report, { cpuid_fam_id: null, launch_mit_vector: null })
    t.is(json.cert_chain, null)
    t.deepEqual(fromKbs(json)?.report, raw)
})

test('what the form cannot hold is refused, not dropped', (t) => {
    const raw = report(genoa)
    const reserved = resign(Buffer.concat([raw.subarray(0, 0x182), Buffer.from([9]), raw.subarray(0x183)]), keys)
    t.throws(() => toKbs({ tee: 'snp', report: reserved }), { code: 'ERR_SNP_FIELD' })
    t.throws(() => toKbs({ tee: 'snp', report: report(genoa, { version: 6, currentEtcb: Buffer.alloc(32, 1) }) }), {
        code: 'ERR_SNP_EVIDENCE',
    })
})

const good = toKbs({ tee: 'snp', report: report(genoa), certificates: table(genoa) }) as {
    attestation_report: Record<string, unknown>
    cert_chain: { cert_type: unknown; data: number[] }[]
}
const with_ = (changed: Record<string, unknown>) => ({
    ...good,
    attestation_report: { ...good.attestation_report, ...changed },
})
const [first] = good.cert_chain

for (const { name, value, code, message } of [
    {
        name: 'a byte of 256',
        value: with_({ report_data: [256, ...Array(63).fill(0)] }),
        code: 'ERR_SNP_EVIDENCE',
        message: /report_data\.0/,
    },
    {
        name: 'a byte of 1.5',
        value: with_({ report_data: [1.5, ...Array(63).fill(0)] }),
        code: 'ERR_SNP_EVIDENCE',
        message: /report_data\.0/,
    },
    {
        name: '63 bytes of report data',
        value: with_({ report_data: Array(63).fill(0) }),
        code: 'ERR_SNP_EVIDENCE',
        message: /report_data/,
    },
    { name: 'a negative policy', value: with_({ policy: -1 }), code: 'ERR_SNP_EVIDENCE', message: /policy/ },
    { name: 'a policy of 65 bits', value: with_({ policy: 1n << 64n }), code: 'ERR_SNP_EVIDENCE', message: /policy/ },
    {
        name: 'a missing member',
        value: with_({ measurement: undefined }),
        code: 'ERR_SNP_EVIDENCE',
        message: /measurement/,
    },
    { name: 'an unknown member', value: with_({ extra: 1 }), code: 'ERR_SNP_EVIDENCE', message: /extra/ },
    { name: 'an unknown version', value: with_({ version: 4 }), code: 'ERR_SNP_VERSION', message: /version 4/ },
    {
        name: 'an unknown kind of certificate',
        value: { ...good, cert_chain: [{ ...first, cert_type: 'AK' }] },
        code: 'ERR_SNP_EVIDENCE',
        message: /cert_type/,
    },
    {
        name: 'one certificate twice',
        value: { ...good, cert_chain: [first, first] },
        code: 'ERR_SNP_CERT_TABLE',
        message: /twice/,
    },
    {
        name: 'an empty certificate',
        value: { ...good, cert_chain: [{ ...first, data: [] }] },
        code: 'ERR_SNP_CERT_TABLE',
        message: /spans/,
    },
])
    test(`refused: ${name}`, (t) => {
        const judged = () => {
            const evidence = fromKbs(value)
            const verifier = snpVerifier({ ...STRICT_TRUST, withoutRevocation: true })
            const { code, checks } = judge(verifier, evidence as never, {}, genoa.now)
            const detail = checks.find(({ result }) => result === 'fail')?.detail ?? ''
            if (code) throw Object.assign(new Error(detail), { code })
        }
        t.throws(judged, { code, message })
    })

test('what is not SNP is left to others', (t) => {
    for (const value of [null, 1, 'x', [], {}, { quote: 'AA==' }]) t.is(fromKbs(value), null)
})
