// `verify` on real reports: each row of the oracle with its expected verdict and exit status, and the manners around it.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Judgement } from '#evidence/verdict.ts'
import { VECTORS, vectors } from '../machine.ts'
import { needs } from '../needs.ts'
import { guestAttest } from './run.ts'

const FOLDER = join(VECTORS, 'snp-tdx')
const ORACLE = vectors('snp-tdx/oracle-snp.tsv')

interface Row {
    readonly report: string
    readonly vek: string
    readonly at: string
    readonly expect: string
}

function oracle(): Row[] {
    if (!ORACLE.met) return []
    const [header = '', ...lines] = readFileSync(join(FOLDER, 'oracle-snp.tsv'), 'utf8').trim().split('\n')
    const names = header.split('\t')
    return lines.map((line) => {
        const cells = line.split('\t')
        const cell = (name: string): string => cells[names.indexOf(name)] ?? ''
        return { report: cell('report'), vek: cell('vek'), at: cell('verify_time'), expect: cell('expect') }
    })
}

if (!ORACLE.met) needs(ORACLE)('each row of the oracle', (t) => t.fail())

for (const [index, { report, vek, at, expect }] of oracle().entries())
    needs(vectors(`snp-tdx/${report}`, `snp-tdx/${vek}`))(
        `oracle row ${index + 1}: ${report} with ${vek} at ${at} is ${expect}`,
        async (t) => {
            const { code, stdout } = await guestAttest([
                ...['verify', join(FOLDER, report), '--certs', join(FOLDER, vek), '--at', at],
                ...['--offline', '--authentic-only', '--json'],
            ])
            const judgement = JSON.parse(stdout) as Judgement
            const [verdict = '', reason = ''] = expect.split(': ')
            t.is(judgement.verdict, verdict as Judgement['verdict'], stdout)
            t.is(code, verdict === 'authentic' ? 0 : 1)
            t.is(judgement.tee, 'snp')
            if (verdict === 'rejected') t.regex(judgement.code ?? '', /^ERR_SNP_/)
            if (reason === 'time') t.is(judgement.code, 'ERR_SNP_TIME')
            for (const check of judgement.checks) {
                t.true(['pass', 'fail', 'skipped'].includes(check.result))
                t.is(typeof check.detail, 'string')
            }
        },
    )

const REPORT = 'snp-tdx/snp/TEE-Attestation-Verification--turin_attestation_report.bin'
const VCEK = 'snp-tdx/snp/TEE-Attestation-Verification--turin_vcek.pem'
const turinTest = needs(vectors(REPORT, VCEK))
const TURIN = [join(VECTORS, REPORT), '--certs', join(VECTORS, VCEK), '--at', '2026-06-01T00:00:00Z']
const MEASUREMENT = '6d6c354511d6f7c6d7504668903dc5bdc066a048b651840d8d03fb85299ebfa142fccf1d1b0baca496841bdf243619d4'

for (const { name, args, code, last } of [
    { name: 'no list and no --offline', args: [], code: 3, last: /^UNDECIDED: ERR_SNP_CRL_MISSING$/ },
    {
        name: 'nothing expected',
        args: ['--offline'],
        code: 3,
        last: /^AUTHENTIC, NOT APPRAISED: could be any guest, could be a replay$/,
    },
    {
        name: 'nothing expected, --authentic-only',
        args: ['--offline', '--authentic-only'],
        code: 0,
        last: /^AUTHENTIC, NOT APPRAISED/,
    },
    {
        name: 'its measurement',
        args: ['--offline', '--measurement', MEASUREMENT],
        code: 0,
        last: /^ACCEPTED$/,
    },
    {
        name: 'its measurement among others',
        args: ['--offline', '--measurement', '00'.repeat(48), '--measurement', MEASUREMENT.toUpperCase()],
        code: 0,
        last: /^ACCEPTED$/,
    },
    {
        name: 'another measurement',
        args: ['--offline', '--measurement', '00'.repeat(48)],
        code: 1,
        last: /^REJECTED: ERR_SNP_POLICY_MEASUREMENT$/,
    },
    {
        name: 'its report data',
        args: ['--offline', '--report-data', `hex:${'00'.repeat(64)}`],
        code: 0,
        last: /^ACCEPTED$/,
    },
    {
        name: 'a replay',
        args: ['--offline', '--nonce', `hex:${'07'.repeat(32)}`],
        code: 1,
        last: /^REJECTED: ERR_EVIDENCE_NONCE$/,
    },
    {
        name: 'the technology it is',
        args: ['--offline', '--tee', 'snp', '--nonce', `b64:${Buffer.alloc(32).toString('base64')}`],
        code: 0,
        last: /^ACCEPTED$/,
    },
])
    turinTest(`verdict and exit: ${name}`, async (t) => {
        const ran = await guestAttest(['verify', ...TURIN, ...args])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stdout.trim().split('\n').at(-1) ?? '', last)
    })

for (const { name, file, code, text } of [
    { name: 'a quote of SGX is named', file: 'tdx/dcap-qvl--sgx_quote', code: 1, text: /SGX quote/ },
    { name: 'an HCL report is named', file: 'derived/az-snp-v2.hcl.bin', code: 1, text: /HCL report/ },
    { name: 'a certificate is named', file: 'snp/sev--vcek_milan.der', code: 1, text: /certificate/ },
    { name: 'an event log is named', file: 'eventlog/trustee--CCEL_data', code: 1, text: /event log/ },
    {
        name: 'a truncated report is named',
        file: 'snp/sev-snp-utils-wasm--guest_report_corrupt.bin',
        code: 1,
        text: /793/,
    },
    { name: 'vTPM evidence is named', file: 'azure/trustee--az-snp-vtpm-evidence-v2.json', code: 1, text: /vTPM/ },
])
    needs(vectors(`snp-tdx/${file}`))(`input: ${name}`, async (t) => {
        const ran = await guestAttest(['verify', join(FOLDER, file), '--offline'])
        t.is(ran.code, code)
        t.regex(ran.stdout, text)
    })

turinTest('usage: bytes without their form', async (t) => {
    const ran = await guestAttest(['verify', ...TURIN, '--nonce', '00'])
    t.is(ran.code, 2)
    t.regex(ran.stderr, /hex:…/)
})

for (const { name, args, text } of [
    { name: 'a file that does not exist', args: ['verify', '/nowhere'], text: /no such file/ },
    {
        name: 'an empty policy',
        args: ['verify', '/dev/null', '--policy', '/dev/null'],
        text: /an empty policy would accept any guest/,
    },
    {
        name: 'a measurement that is none',
        args: ['verify', '/dev/null', '--measurement', 'zz'],
        text: /--measurement: expected hex digits/,
    },
    {
        name: 'a policy that is not there',
        args: ['verify', '/dev/null', '--policy', '/nowhere'],
        text: /nowhere: no such file/,
    },
    {
        name: 'a day that there is not',
        args: ['verify', '/dev/null', '--at', '2026-02-31'],
        text: /--at: expected a time/,
    },
    {
        name: 'a time of nowhere',
        args: ['verify', '/dev/null', '--at', '2026-01-31T12:00'],
        text: /--at: expected a time/,
    },
    { name: 'no file', args: ['verify'], text: /verify: expected <file>/ },
    { name: 'an unknown option', args: ['verify', '/dev/null', '--frobnicate'], text: /frobnicate/ },
    { name: 'a time that is none', args: ['verify', '/dev/null', '--at', 'yesterday'], text: /2026-01-31T12:00:00Z/ },
    {
        name: 'an option twice',
        args: ['verify', '/dev/null', '--at', '2026-01-01', '--at', '2026-01-02'],
        text: /twice/,
    },
])
    test(`usage: ${name}`, async (t) => {
        const ran = await guestAttest(args)
        t.is(ran.code, 2, ran.stderr)
        t.regex(ran.stderr, text)
        t.is(ran.stdout, '')
    })

test('what nobody knows is not a proof', async (t) => {
    const ran = await guestAttest(['verify', '-', '--json'], { input: 'hello' })
    t.is(ran.code, 1)
    t.like(JSON.parse(ran.stdout), { verdict: 'rejected', code: 'ERR_EVIDENCE_UNKNOWN', claims: null })
    t.regex(ran.stdout, /not a proof that I know/)
    t.regex((await guestAttest(['verify', '-'], { input: 'hello' })).stderr, /hint: expected: .*report/)
})
