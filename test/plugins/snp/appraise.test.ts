// Is it acceptable? Each member of a policy, met and not met; the strict values of those that are absent; the floor.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { Checks } from '#core/checks.ts'
import { parseTomlText } from '#core/config.ts'
import { judge } from '#evidence/judge.ts'
import { MEMBERS } from '#plugins/snp/members.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { SNP_POLICY } from '#plugins/snp/policy.ts'
import type { Report } from '#plugins/snp/report.ts'
import { report, table, type Vendor, vendor, verifierOf, withVlek } from './minted.ts'

const keys = await generateVendorKeys()
const genoa = await vendor('genoa', keys)
const turin = await vendor('turin', keys)
const PROVIDER = 'cc-eu-west-1.amazonaws.com'
const vlek = await withVlek(genoa, PROVIDER)

const hex = (byte: number, size: number): string => Buffer.alloc(size, byte).toString('hex')

interface Case {
    readonly name: string
    readonly of?: Vendor
    readonly fields?: Partial<Report>
    readonly policy: Record<string, unknown>
    readonly want?: string
}

const DEBUG = { policy: 0xb0000n }
const CASES: readonly Case[] = [
    { name: 'an empty policy', policy: {} },
    { name: 'a debug guest under an empty policy', fields: DEBUG, policy: {}, want: 'ERR_SNP_POLICY_DEBUG' },
    { name: 'a debug guest that is allowed', fields: DEBUG, policy: { debug: true } },
    {
        name: 'a migratable guest under an empty policy',
        fields: { policy: 0x70000n },
        policy: {},
        want: 'ERR_SNP_POLICY_MIGRATION',
    },
    { name: 'a migratable guest that is allowed', fields: { policy: 0x70000n }, policy: { migration: true } },
    { name: 'VMPL 1 under an empty policy', fields: { vmpl: 1 }, policy: {}, want: 'ERR_SNP_POLICY_VMPL' },
    { name: 'VMPL 1 that is allowed', fields: { vmpl: 1 }, policy: { maxVmpl: 1 } },
    { name: 'VMPL 2 where 1 is allowed', fields: { vmpl: 2 }, policy: { maxVmpl: 1 }, want: 'ERR_SNP_POLICY_VMPL' },
    { name: 'the measurement', policy: { measurements: [hex(0x22, 48)] } },
    {
        name: 'the measurement in capitals',
        policy: { measurements: [hex(0xab, 48).toUpperCase()] },
        fields: { measurement: Buffer.alloc(48, 0xab) },
    },
    { name: 'another measurement', policy: { measurements: [hex(0x23, 48)] }, want: 'ERR_SNP_POLICY_MEASUREMENT' },
    { name: 'the product line', policy: { productLines: ['Genoa'] } },
    { name: 'another product line', policy: { productLines: ['Milan', 'Turin'] }, want: 'ERR_SNP_POLICY_PRODUCT_LINE' },
    {
        name: 'the minimum TCB exactly',
        policy: { minimumTcb: { Genoa: { bootLoader: 10, tee: 0, snp: 27, microcode: 27 } } },
    },
    {
        name: 'one part below the minimum',
        policy: { minimumTcb: { Genoa: { bootLoader: 0, tee: 0, snp: 28, microcode: 0 } } },
        want: 'ERR_SNP_POLICY_TCB',
    },
    {
        name: 'a minimum for another line only',
        policy: { minimumTcb: { Turin: { fmc: 0, bootLoader: 0, tee: 0, snp: 0, microcode: 0 } } },
        want: 'ERR_SNP_POLICY_TCB',
    },
    {
        name: "Turin's FMC below the minimum",
        of: turin,
        policy: { minimumTcb: { Turin: { fmc: 2, bootLoader: 0, tee: 0, snp: 0, microcode: 0 } } },
        want: 'ERR_SNP_POLICY_TCB',
    },
    { name: 'the chip', policy: { chipIds: [hex(0x5a, 64)] } },
    { name: 'another chip', policy: { chipIds: [hex(0x5b, 64)] }, want: 'ERR_SNP_POLICY_CHIP_ID' },
    { name: "Turin's chip by its eight bytes", of: turin, policy: { chipIds: [hex(0x5a, 8)] } },
    { name: 'the host data', policy: { hostData: [hex(0, 32)] } },
    { name: 'other host data', policy: { hostData: [hex(1, 32)] }, want: 'ERR_SNP_POLICY_HOST_DATA' },
    {
        name: 'no identity key where one is demanded',
        policy: { idKeyDigests: [hex(1, 48)] },
        want: 'ERR_SNP_POLICY_ID_KEY',
    },
    { name: 'the identity key', fields: { idKeyDigest: Buffer.alloc(48, 1) }, policy: { idKeyDigests: [hex(1, 48)] } },
    {
        name: 'another author key',
        fields: { authorKeyDigest: Buffer.alloc(48, 1) },
        policy: { authorKeyDigests: [hex(2, 48)] },
        want: 'ERR_SNP_POLICY_ID_KEY',
    },
    { name: 'the alias check', policy: { requiredPlatform: ['aliasCheckComplete'] } },
    {
        name: 'no alias check (BadRAM)',
        fields: { platformInfo: 1n },
        policy: { requiredPlatform: ['aliasCheckComplete'] },
        want: 'ERR_SNP_POLICY_PLATFORM',
    },
    { name: 'a VCEK where VLEKs are wanted', policy: { signingKeys: ['VLEK'] }, want: 'ERR_SNP_POLICY_SIGNING_KEY' },
    { name: 'providers, and a VCEK', policy: { vlekProviders: [PROVIDER] } },
    { name: 'the provider', of: vlek, policy: { vlekProviders: ['cc-us-east-2.amazonaws.com', PROVIDER] } },
    { name: 'the provider as its certificate writes it', of: vlek, policy: { vlekProviders: [`CN=${PROVIDER}`] } },
    {
        name: 'another provider',
        of: vlek,
        policy: { vlekProviders: ['cc-us-east-2.amazonaws.com'] },
        want: 'ERR_SNP_POLICY_VLEK_PROVIDER',
    },
    {
        name: 'a VLEK where VCEKs are wanted',
        of: vlek,
        policy: { signingKeys: ['VCEK'] },
        want: 'ERR_SNP_POLICY_SIGNING_KEY',
    },
    { name: 'the kind of key', of: vlek, policy: { signingKeys: ['VCEK', 'VLEK'] } },
    {
        name: 'the author key',
        fields: { authorKeyDigest: Buffer.alloc(48, 1) },
        policy: { authorKeyDigests: [hex(1, 48)] },
    },
]

const judged = ({ of = genoa, fields, policy }: Case) => {
    const verifier = verifierOf(of)
    const evidence = { tee: 'snp', report: report(of, fields), certificates: table(of) }
    return judge(verifier, evidence, { policy: verifier.readPolicy(policy, 'policy') }, of.now)
}

for (const one of CASES)
    test(`${one.want ? 'refused' : 'accepted'}: ${one.name}`, (t) => {
        const judgement = judged(one)
        t.is(judgement.code, one.want, JSON.stringify(judgement.checks))
        t.is(judgement.verdict, one.want ? 'rejected' : 'accepted')
        t.truthy(judgement.claims)
    })

test('each member is judged by a check of its own, and a case above fails it, and another passes it', (t) => {
    const members = Object.keys(SNP_POLICY.schema.shape).filter((name) => name !== 'tee')
    t.deepEqual(members, Object.keys(MEMBERS))
    const checks = SNP_POLICY.rows.map(([, { check }]) => check)
    t.deepEqual([...new Set(checks)], checks)
    const seen = CASES.flatMap((one) => judged(one).checks.map(({ name, result }) => `${name}: ${result}`))
    const unseen = checks.flatMap((check) => [`${check}: fail`, `${check}: pass`]).filter((it) => !seen.includes(it))
    t.deepEqual(unseen, [])
})

test('what a policy does not name is listed as skipped', (t) => {
    const verifier = verifierOf(genoa)
    const evidence = { tee: 'snp', report: report(genoa), certificates: table(genoa) }
    const { checks } = judge(verifier, evidence, { policy: verifier.readPolicy({}, 'policy') }, genoa.now)
    const skipped = checks.filter(({ result }) => result === 'skipped').map(({ name }) => name)
    const { appraisal } = verifier.checkNames
    t.deepEqual(
        skipped.filter((name) => appraisal.includes(name)),
        [
            'measurement',
            'product-lines',
            'minimum-tcb',
            'signing-keys',
            'vlek-providers',
            'required-platform',
            'host-data',
            'id-keys',
            'author-keys',
            'chip-ids',
        ],
    )
})

for (const { name, policy, message } of [
    { name: 'an unknown member', policy: { measurement: [] }, message: /measurement/ },
    { name: 'an empty list', policy: { measurements: [] }, message: /measurements/ },
    { name: 'a measurement of 47 bytes', policy: { measurements: [hex(1, 47)] }, message: /48 bytes in hex/ },
    { name: 'an unknown line', policy: { productLines: ['Zen'] }, message: /productLines/ },
    {
        name: 'a minimum with a part forgotten',
        policy: { minimumTcb: { Genoa: { bootLoader: 1, tee: 0, snp: 1 } } },
        message: /microcode/,
    },
    {
        name: 'a minimum with a part that the line lacks',
        policy: { minimumTcb: { Genoa: { fmc: 1, bootLoader: 1, tee: 0, snp: 1, microcode: 1 } } },
        message: /fmc/,
    },
    { name: 'an unknown platform bit', policy: { requiredPlatform: ['safe'] }, message: /requiredPlatform/ },
    { name: 'a policy of another technology', policy: { tee: 'tdx' }, message: /tee/ },
    { name: 'debug as text', policy: { debug: 'false' }, message: /debug/ },
])
    test(`malformed: ${name}`, (t) =>
        void t.throws(() => verifierOf(genoa).readPolicy(policy, 'p.toml'), { code: 'ERR_SNP_POLICY_FILE', message }))

for (const one of [genoa, turin, vlek])
    test(`the policy that is written from a report of ${one.generation.line}, signed by a ${one.kind}, accepts it, and no other`, (t) => {
        const verifier = verifierOf(one)
        const evidence = { tee: 'snp', report: report(one), certificates: table(one) }
        const authentic = verifier.authenticate(evidence, one.now, new Checks([]))
        const policy = verifier.readPolicy(parseTomlText(verifier.writePolicy(authentic), 'written'), 'written')
        t.is(judge(verifier, evidence, { policy }, one.now).verdict, 'accepted')
        const other = { ...evidence, report: report(one, { measurement: Buffer.alloc(48, 9) }) }
        t.is(judge(verifier, other, { policy }, one.now).code, 'ERR_SNP_POLICY_MEASUREMENT')
        const debug = { ...evidence, report: report(one, DEBUG) }
        t.is(judge(verifier, debug, { policy }, one.now).code, 'ERR_SNP_POLICY_DEBUG')
    })

const FULL = { productLines: ['Genoa'], minimumTcb: { Genoa: { bootLoader: 10, tee: 0, snp: 27, microcode: 27 } } }

for (const { name, fields, policy, want } of [
    { name: 'a strict set', policy: FULL, want: [] },
    { name: 'no set at all', policy: null, want: ['insecureAnyProductLine', 'insecureNoMinimumTcb'] },
    { name: 'a set without lines', policy: { minimumTcb: FULL.minimumTcb }, want: ['insecureAnyProductLine'] },
    { name: 'a set without a minimum', policy: { productLines: ['Genoa'] }, want: ['insecureNoMinimumTcb'] },
    {
        name: 'a debug guest, even where the set allows it',
        fields: DEBUG,
        policy: { ...FULL, debug: true },
        want: ['insecureDebug'],
    },
    { name: 'a migratable guest', fields: { policy: 0x70000n }, policy: FULL, want: ['insecureMigration'] },
    { name: 'VMPL 2', fields: { vmpl: 2 }, policy: FULL, want: ['insecureVmpl'] },
] as { name: string; fields?: Partial<Report>; policy: Record<string, unknown> | null; want: string[] }[])
    test(`floor: ${name}`, (t) => {
        const verifier = verifierOf(genoa)
        const evidence = { tee: 'snp', report: report(genoa, fields), certificates: table(genoa) }
        const authentic = verifier.authenticate(evidence, genoa.now, new Checks([]))
        const findings = verifier.floor(
            authentic,
            policy && { policy: verifier.readPolicy(policy, 'set'), coverage: 'firmware' },
        )
        t.deepEqual(
            findings.map((finding) => finding.switch),
            want as never,
        )
    })
