// TDX evidence in the forms that people have: the protocol's JSON, there and back and malformed; quotes with and without
// what pads them; what is taken for one.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseJson, stringifyJson } from '#core/json.ts'
import { recognise } from '#evidence/recognise.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { encodeCcel } from '#plugins/tdx/event-log/ccel.ts'
import { notes, toRaw } from '#plugins/tdx/forms.ts'
import { toKbs } from '#plugins/tdx/kbs-evidence.ts'
import { fromKbs } from '#plugins/tdx/kbs-evidence-schema.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { BOOT } from './boot.ts'
import { quote, trustIn, vendor } from './minted.ts'

const own = await vendor()
const trust = trustIn(own)
const verifier = tdxVerifier(trust)
const verifiers = [snpVerifier(trust), verifier]
const report = quote(own)
const eventLog = encodeCcel(BOOT)

for (const [name, evidence] of Object.entries({
    'a quote': { tee: 'tdx', report },
    'a quote of version 5': { tee: 'tdx', report: quote(own, { version: 5, bodyType: 4 }) },
    'a quote and its log': { tee: 'tdx', report, eventLog },
}))
    test(`there and back is the same: ${name}`, (t) => {
        const text = stringifyJson(toKbs(evidence))
        t.deepEqual(Object.keys(JSON.parse(text)), ['cc_eventlog', 'quote'])
        t.deepEqual(fromKbs(parseJson(text, { title: 't', maxBytes: 1 << 20 })), evidence)
        t.deepEqual(recognise(Buffer.from(text), verifiers).evidence, evidence)
    })

const json = toKbs({ tee: 'tdx', report, eventLog })

test('the padding of a quote is left behind, and its log may be missing', (t) => {
    const padded = Buffer.concat([report, Buffer.alloc(3000, 1)]).toString('base64')
    t.deepEqual(fromKbs({ quote: padded }), { tee: 'tdx', report })
    t.deepEqual(fromKbs({ quote: padded, cc_eventlog: null }), { tee: 'tdx', report })
})

for (const { name, primary } of [
    { name: 'null', primary: null },
    { name: 'a text', primary: 'quote' },
    { name: 'an array', primary: [json] },
    { name: 'SNP’s', primary: { attestation_report: {}, cert_chain: null } },
    { name: 'Azure’s', primary: { hcl_report: 'SENMQQ', quote: { signature: [], message: [], pcrs: [] } } },
])
    test(`not mine: ${name}`, (t) => t.is(fromKbs(primary), null))

const sgx = (version: number): Buffer => {
    const out = Buffer.from(report)
    out.writeUInt16LE(version, 0)
    out.writeUInt32LE(0, 4)
    return out
}

for (const { name, primary, code, message } of [
    { name: 'another member', primary: { ...json, aa_eventlog: '' }, code: 'ERR_TDX_EVIDENCE', message: /aa_eventlog/ },
    { name: 'a quote of bytes', primary: { ...json, quote: [1] }, code: 'ERR_TDX_EVIDENCE', message: /quote/ },
    {
        name: 'a quote that is no base64',
        primary: { ...json, quote: '%' },
        code: 'ERR_TDX_EVIDENCE',
        message: /quote: not base64/,
    },
    {
        name: 'a log that is no base64',
        primary: { ...json, cc_eventlog: 'A' },
        code: 'ERR_TDX_EVIDENCE',
        message: /cc_eventlog: not base64/,
    },
    { name: 'too long a quote', primary: { quote: 'A'.repeat(180_000) }, code: 'ERR_TDX_EVIDENCE', message: /quote/ },
    {
        name: 'too long a log',
        primary: { ...json, cc_eventlog: 'A'.repeat(2_900_000) },
        code: 'ERR_TDX_EVIDENCE',
        message: /cc_eventlog/,
    },
    { name: 'an empty quote', primary: { quote: '' }, code: 'ERR_TDX_QUOTE', message: /header/ },
    {
        name: 'a cut quote',
        primary: { quote: report.subarray(0, 700).toString('base64') },
        code: 'ERR_TDX_QUOTE',
        message: /expected/,
    },
    { name: 'a quote of SGX', primary: { quote: sgx(3).toString('base64') }, code: 'ERR_TDX_QUOTE', message: /SGX/ },
])
    test(`mine, and malformed: ${name}`, (t) => void t.throws(() => fromKbs(primary), { code, message }))

for (const { name, bytes, form } of [
    { name: 'a quote', bytes: report, form: 'TDX quote' },
    {
        name: 'a padded one',
        bytes: Buffer.concat([report, Buffer.alloc(10)]),
        form: 'TDX quote, and 10 bytes behind it (ignored)',
    },
    {
        name: 'one with something behind it',
        bytes: Buffer.concat([report, Buffer.alloc(9, 7)]),
        form: 'TDX quote, and 9 bytes behind it (ignored)',
    },
    { name: 'hex', bytes: Buffer.from(report.toString('hex')), form: 'TDX quote, as hex' },
    { name: 'base64', bytes: Buffer.from(report.toString('base64')), form: 'TDX quote, as base64' },
    { name: 'the protocol’s JSON', bytes: Buffer.from(stringifyJson(json)), form: 'key broker evidence of tdx (JSON)' },
])
    test(`evidence: ${name}`, (t) => {
        const found = recognise(bytes, verifiers)
        t.is(found.form, form)
        t.is(found.verifier, verifier)
        t.deepEqual(found.evidence.report, report)
    })

const HCL = Buffer.concat([Buffer.from('HCLA'), Buffer.alloc(28)])

for (const { name, bytes, code, message } of [
    { name: 'a quote of SGX, version 3', bytes: sgx(3), code: 'ERR_EVIDENCE_UNKNOWN', message: /an Intel SGX quote/ },
    { name: 'a quote of SGX, version 5', bytes: sgx(5), code: 'ERR_EVIDENCE_UNKNOWN', message: /an Intel SGX quote/ },
    {
        name: 'a quote of a version that is none yet',
        bytes: Buffer.concat([Buffer.of(6, 0), report.subarray(2)]),
        code: 'ERR_TDX_QUOTE',
        message: /version 6 is not supported/,
    },
    { name: 'a cut quote', bytes: report.subarray(0, -1), code: 'ERR_TDX_QUOTE', message: /expected/ },
    { name: 'a header', bytes: report.subarray(0, 48), code: 'ERR_TDX_QUOTE', message: /body/ },
    { name: 'half a header', bytes: report.subarray(0, 20), code: 'ERR_EVIDENCE_UNKNOWN', message: /not a proof/ },
    {
        name: 'a TDREPORT',
        bytes: Buffer.concat([Buffer.of(0x81, 0, 1), Buffer.alloc(1021)]),
        code: 'ERR_EVIDENCE_UNKNOWN',
        message: /a TDREPORT of Intel TDX/,
    },
    {
        name: 'an HCL report of a TD',
        bytes: Buffer.concat([HCL, Buffer.of(0x81), Buffer.alloc(2000)]),
        code: 'ERR_TDX_EVIDENCE',
        message: /HCL report of a TD/,
    },
    {
        name: 'an HCL report of nothing',
        bytes: Buffer.concat([HCL, Buffer.alloc(2000)]),
        code: 'ERR_EVIDENCE_UNKNOWN',
        message: /an HCL report/,
    },
    { name: 'an event log', bytes: eventLog, code: 'ERR_EVIDENCE_UNKNOWN', message: /event log/ },
])
    test(`not evidence, or malformed: ${name}`, (t) =>
        void t.throws(() => recognise(bytes, verifiers), { code, message }))

test('raw is the quote, and who sends a log is told what is in it', (t) => {
    t.is(toRaw({ tee: 'tdx', report, eventLog }), report)
    t.deepEqual(notes({ tee: 'tdx', report }), [])
    t.regex(notes({ tee: 'tdx', report, eventLog }).join(), /command line/)
})

const REAL = {
    'tdx/go-tdx-guest--tdx_prod_quote_SPR_E4.dat': /^TDX quote/,
    'tdx/go-tdx-guest--quote_v5_sample.dat': /^TDX quote/,
    'tdx/trustee--tdx_quote_4.dat': /^TDX quote/,
    'tdx/trustee--tdx_quote_5.dat': /^TDX quote/,
    'tdx/dcap-qvl--tdx_quote': /^TDX quote/,
    'tdx/dcap-qvl--tdx-quote.hex': /^TDX quote.*, as hex$/,
    'tdx/cc-trusted-api--quote.bin': /^TDX quote/,
    'tdx/dcap-qvl--sgx_quote': 'an Intel SGX quote',
    'tdx/attestation-rs--tdx_tdreport_live.bin': 'a TDREPORT of Intel TDX',
    'azure/azure-cvm-tooling--hcl-report-tdx.bin': 'HCL report',
    'azure/azure-cvm-tooling--hcl-report-snp.bin': 'HCL report',
}

for (const [path, want] of Object.entries(REAL))
    needs(vectors(`snp-tdx/${path}`))(`real: ${path}`, (t) => {
        const bytes = readFileSync(join(VECTORS, 'snp-tdx', path))
        if (typeof want === 'string') t.throws(() => recognise(bytes, verifiers), { message: new RegExp(want) })
        else t.regex(recognise(bytes, verifiers).form, want)
    })
