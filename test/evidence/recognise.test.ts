// What was handed over: every form in which people have evidence, and the names of what they take for it.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import test from 'ava'
import { stringifyJson } from '#core/json.ts'
import { recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { Verifier } from '#evidence/verifier.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { report, table, vendor, verifierOf } from '../plugins/snp/minted.ts'

const genoa = await vendor('genoa', await generateVendorKeys())
const verifiers = [verifierOf(genoa)]
const raw = report(genoa)
const certificates = table(genoa)
const both = Buffer.concat([raw, certificates])

const kbs = stringifyJson(verifiers[0]?.toKbs({ tee: 'snp', report: raw, certificates }))
const attestation = `{"init-data":null,"tee-evidence":{"primary_evidence":${kbs},"additional_evidence":""}}`

/** The header of the runtime data that Azure puts behind a report: sizes, version 1, an SNP report, a hash. */
const hclHeader = (changed: Partial<Record<number, number>> = {}): Buffer => {
    const words = [100, 1, 2, 1, 80].map((word, i) => changed[i] ?? word)
    return Buffer.concat(words.map((word) => Buffer.of(word, 0, 0, 0)))
}

const lines = (text: string): string => text.replaceAll(/(.{64})/g, '$1\r\n')

for (const { name, bytes, form, table: hasTable = false } of [
    { name: 'a report', bytes: raw, form: 'SNP report' },
    { name: 'a report and its table', bytes: both, form: 'SNP report and certificate table', table: true },
    {
        name: 'a report and Azure’s header',
        bytes: Buffer.concat([raw, hclHeader()]),
        form: /^SNP report and Azure's HCL/,
    },
    { name: 'hex', bytes: raw.toString('hex'), form: 'SNP report, as hex' },
    { name: 'hex as chains have it', bytes: `0x${raw.toString('hex')}`, form: 'SNP report, as hex' },
    { name: 'hex in capitals and lines', bytes: lines(raw.toString('hex').toUpperCase()), form: 'SNP report, as hex' },
    { name: 'base64 of both', bytes: both.toString('base64'), form: /table, as base64$/, table: true },
    { name: 'base64 in lines', bytes: `\n ${lines(raw.toString('base64'))}\n`, form: 'SNP report, as base64' },
    { name: 'base64url', bytes: raw.toString('base64url'), form: /^SNP report, as base64(?:url)?$/ },
    { name: 'the protocol’s JSON', bytes: kbs, form: 'key broker evidence of snp (JSON)', table: true },
    { name: 'the same behind white space', bytes: `\n\t${kbs}\n`, form: /JSON/, table: true },
    { name: 'the message of a handshake', bytes: attestation, form: 'key broker evidence of snp (JSON)', table: true },
])
    test(`evidence: ${name}`, (t) => {
        const found = recognise(Buffer.from(bytes as string), verifiers)
        if (typeof form === 'string') t.is(found.form, form)
        else t.regex(found.form, form)
        t.is(found.verifier, verifiers[0] as Verifier)
        t.true(found.evidence.report.equals(raw))
        t.deepEqual(found.evidence.certificates, hasTable ? certificates : undefined)
    })

const words = (...values: number[]): Buffer => {
    const out = Buffer.alloc(700, 1)
    for (const [i, value] of values.entries()) out.writeUInt16LE(value, 2 * i)
    return out
}
const pem = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' })
const token = (parts: number): string => ['eyJhbGciOiJub25lIn0', ...Array(parts - 1).fill('e30')].join('.')

for (const { name, bytes, says } of [
    { name: 'an SGX quote', bytes: words(3, 2, 0, 0), says: /an Intel SGX quote/ },
    { name: 'a TDREPORT', bytes: Buffer.concat([Buffer.of(0x81), Buffer.alloc(1023)]), says: /TDREPORT/ },
    {
        name: 'a TPM quote',
        bytes: Buffer.concat([Buffer.from('ff544347', 'hex'), Buffer.alloc(9)]),
        says: /TPMS_ATTEST/,
    },
    { name: 'a key', bytes: pem, says: /a PEM certificate or key/ },
    { name: 'a certificate', bytes: genoa.certificates.vcek, says: /a DER certificate/ },
    { name: 'a revocation list', bytes: genoa.list, says: /a DER certificate or revocation list/ },
    { name: 'an attestation token', bytes: `${token(3)}\n`, says: /JSON Web Token/ },
    { name: 'a JWE', bytes: token(5), says: /a JWE/ },
    {
        name: 'a LUKS header',
        bytes: Buffer.concat([Buffer.from('LUKS\xba\xbe', 'latin1'), Buffer.alloc(99)]),
        says: /LUKS/,
    },
    {
        name: 'an event log',
        bytes: Buffer.concat([Buffer.alloc(32), Buffer.from('Spec ID Event03\0')]),
        says: /event log/,
    },
    { name: 'Azure’s vTPM evidence', bytes: '{"hcl_report":[1],"quote":{}}', says: /vTPM/ },
    { name: 'another JSON', bytes: '{"a":1}', says: /a JSON text of another kind/ },
    { name: 'JSON with a part of the names', bytes: '{"tee-evidence":{"primary_evidence":null}}', says: /JSON text/ },
    { name: 'an empty file', bytes: '', says: /an empty file/ },
    { name: 'a word', bytes: 'hello', says: /not a proof that I know/ },
    { name: 'one byte', bytes: Buffer.of(0x81), says: /not a proof/ },
    { name: 'zeros', bytes: Buffer.alloc(1184), says: /not a proof/ },
    { name: 'hex of something', bytes: 'ff'.repeat(1184), says: /not a proof/ },
    { name: 'hex of half a byte more', bytes: `${raw.toString('hex')}0`, says: /not a proof/ },
    { name: 'a JSON array', bytes: `[${kbs}]`, says: /not a proof/ },
])
    test(`not evidence: ${name}`, (t) => {
        const all = [...verifiers, tdxVerifier(STRICT_TRUST)]
        const error = t.throws<Error & { hint?: string }>(() => recognise(Buffer.from(bytes as string), all), {
            code: 'ERR_EVIDENCE_UNKNOWN',
            message: says,
        })
        t.regex(
            error?.hint ?? '',
            /^expected: an SNP report \(1184 bytes\).*, a TDX quote .*, hex or base64 of it, or key broker/,
        )
    })

for (const { name, bytes, code } of [
    { name: 'a report that is cut', bytes: raw.subarray(0, 793), code: 'ERR_SNP_LENGTH' },
    { name: 'the same in hex', bytes: raw.subarray(0, 793).toString('hex'), code: 'ERR_SNP_LENGTH' },
    { name: 'a report and a few bytes', bytes: Buffer.concat([raw, Buffer.alloc(3)]), code: 'ERR_SNP_LENGTH' },
    { name: 'a report and another header', bytes: Buffer.concat([raw, hclHeader({ 2: 4 })]), code: 'ERR_SNP_LENGTH' },
    { name: 'a header whose sizes differ', bytes: Buffer.concat([raw, hclHeader({ 4: 81 })]), code: 'ERR_SNP_LENGTH' },
    { name: 'a report and a cut table', bytes: both.subarray(0, raw.length + 2000), code: 'ERR_SNP_CERT_TABLE' },
    {
        name: 'a whole HCL report',
        bytes: Buffer.concat([Buffer.from('HCLA'), Buffer.alloc(28), raw]),
        code: 'ERR_SNP_EVIDENCE',
    },
    { name: 'JSON that breaks off', bytes: kbs.slice(0, -1), code: 'ERR_JSON' },
    { name: 'JSON with a key twice', bytes: '{"attestation_report":1,"attestation_report":2}', code: 'ERR_JSON' },
    { name: 'JSON of 4 MiB', bytes: `{"a":"${'x'.repeat(4 * 1024 * 1024)}"}`, code: 'ERR_JSON' },
    {
        name: 'the protocol’s JSON with half a report',
        bytes: kbs.replace('"vmpl":0', '"vmpl":"0"'),
        code: 'ERR_SNP_EVIDENCE',
    },
])
    test(`evidence, and malformed: ${name}`, (t) =>
        void t.throws(() => recognise(Buffer.from(bytes as string), verifiers), { code }))

test('without a verifier nothing is evidence', (t) =>
    void t.throws(() => recognise(raw, []), { code: 'ERR_EVIDENCE_UNKNOWN' }))
