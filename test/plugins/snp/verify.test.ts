// Is it authentic? Reports that are minted and really signed, and every mutation that must be refused, with its code.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import test from 'ava'
import { certificatePem, mintCertificate, mintRevocationList, type NameParts } from '#core/mint.ts'
import { judge } from '#evidence/judge.ts'
import type { Trust } from '#evidence/verifier.ts'
import { CERT_GUIDS, encodeCertTable } from '#plugins/snp/cert-table.ts'
import { GENERATIONS } from '#plugins/snp/generations.ts'
import { generateVendorKeys, mintChain } from '#plugins/snp/mint.ts'
import { HOST_VMPL, type Report } from '#plugins/snp/report.ts'
import { writeTcb } from '#plugins/snp/tcb.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { named, report, resign, table, trustIn, type Vendor, vendor, withVlek } from './minted.ts'

const keys = await generateVendorKeys()
const foreignKeys = await generateVendorKeys()
const genoa = await vendor('genoa', keys)
const milan = await vendor('milan', keys)
const turin = await vendor('turin', keys)
const genoaVlek = await withVlek(genoa, 'cc-eu-west-1.amazonaws.com')
const foreign = await vendor('genoa', foreignKeys)

const DAY = 24 * 3_600_000
const later = (days: number): Date => new Date(genoa.now.getTime() + days * DAY)

interface Case {
    readonly name: string
    readonly of?: Vendor
    readonly fields?: Partial<Report>
    readonly raw?: () => Buffer
    readonly certificates?: Buffer
    readonly trust?: Partial<Trust>
    readonly at?: Date
    readonly want: string
}

function verdictOf({ of = genoa, fields, raw, certificates, trust, at }: Case) {
    const verifier = snpVerifier(trustIn(of, trust))
    const bytes = raw?.() ?? report(of, fields)
    return judge(verifier, { tee: 'snp', report: bytes, certificates: certificates ?? table(of) }, {}, at ?? of.now)
}

const flip = (raw: Buffer, at: number, bit = 0): Buffer => {
    const out = Buffer.from(raw)
    out[at] = (out[at] ?? 0) ^ (1 << bit)
    return out
}

const genoaName = (cn: string): NameParts => [
    ['OU', 'Engineering'],
    ['C', 'US'],
    ['L', 'Santa Clara'],
    ['ST', 'CA'],
    ['O', 'Advanced Micro Devices'],
    ['CN', cn],
]
const otherChip = await mintChain(genoa.generation, keys, Buffer.alloc(64, 0xa5), genoa.now)
const otherTcb = await mintChain(
    { ...GENERATIONS.genoa, tcb: { bootLoader: 10, tee: 0, snp: 27, microcode: 26 } },
    keys,
    genoa.chipId,
    genoa.now,
)
const signer = { name: genoaName('ARK-Genoa'), privateKey: keys.ark, signature: 'rsaPss384' } as const
const listTimes = { thisUpdate: later(-1), nextUpdate: later(30), number: 1 }
const revokingList = await mintRevocationList({ ...listTimes, revoked: ['020001'] }, signer)
const staleList = await mintRevocationList(
    { ...listTimes, thisUpdate: later(-60), nextUpdate: later(-30), revoked: [] },
    signer,
)
const staleRevokingList = await mintRevocationList(
    { ...listTimes, thisUpdate: later(-60), nextUpdate: later(-30), revoked: ['020001'] },
    signer,
)
const futureList = await mintRevocationList({ ...listTimes, thisUpdate: later(1), revoked: [] }, signer)
const forgedList = await mintRevocationList({ ...listTimes, revoked: [] }, { ...signer, privateKey: foreignKeys.ark })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const vlekForVcek = await mintCertificate(
    {
        subject: genoaName('SEV-VLEK'),
        publicKey: p256.publicKey,
        notBefore: later(-1),
        notAfter: later(300),
        extensions: () => [],
    },
    { name: genoaName('SEV-VLEK-Genoa'), privateKey: keys.ask, signature: 'rsaPss384' },
)
const wrongCurve = await mintChain(genoa.generation, { ...keys, vcek: p256.privateKey }, genoa.chipId, genoa.now)
const onlyVcek = (data: Buffer): Buffer => encodeCertTable([{ guid: CERT_GUIDS.VCEK, data }])

const good = report(genoa)
const withTable = (edit: (t: Buffer) => void): Buffer => {
    const out = Buffer.from(table(genoa))
    edit(out)
    return out
}

for (const { name, of, fields, trust, at } of [
    { name: 'Milan', of: milan },
    { name: 'Genoa', of: genoa },
    { name: 'Turin', of: turin },
    { name: 'version 2, whose line its certificate names', of: milan, fields: { version: 2 } },
    { name: 'version 5 on Milan', of: milan, fields: { version: 5 } },
    { name: 'version 6', of: genoa, fields: { version: 6 } },
    { name: 'VMPL 3', of: genoa, fields: { vmpl: 3 } },
    { name: 'a debug guest: authentic, and any policy refuses it', of: genoa, fields: { policy: 0xb0000n } },
    {
        name: 'current TCB ahead of the committed one',
        of: genoa,
        fields: { currentTcb: writeTcb('Genoa', { bootLoader: 10, tee: 0, snp: 27, microcode: 28 }) },
    },
    {
        name: 'without a list, where the caller says so',
        of: genoa,
        trust: { revocationLists: [], withoutRevocation: true },
    },
    {
        name: 'on the last day of the VCEK',
        of: genoa,
        trust: { revocationLists: [], withoutRevocation: true },
        at: later(7 * 365 - 2),
    },
] satisfies Omit<Case, 'want'>[])
    test(`authentic: ${name}`, (t) => {
        const judgement = verdictOf({ name, of, fields, trust, at, want: '' } as Case)
        t.is(judgement.verdict, 'authentic', JSON.stringify(judgement.checks))
        t.is(judgement.claims?.['emulated'], true)
    })

const CASES: readonly Case[] = [
    { name: '1183 bytes', raw: () => good.subarray(0, 1183), want: 'ERR_SNP_LENGTH' },
    { name: '1185 bytes', raw: () => Buffer.concat([good, Buffer.alloc(1)]), want: 'ERR_SNP_LENGTH' },
    ...[0, 1, 4, 7].map((version) => ({
        name: `version ${version}`,
        raw: () => resign(Buffer.concat([Buffer.from([version, 0, 0, 0]), good.subarray(4)]), keys),
        want: 'ERR_SNP_VERSION',
    })),
    { name: 'signature algorithm 0', fields: { signatureAlgo: 0 }, want: 'ERR_SNP_FIELD' },
    { name: 'signature algorithm 2', fields: { signatureAlgo: 2 }, want: 'ERR_SNP_FIELD' },
    { name: 'signing key 7 (none)', fields: { keyInfo: 7 << 2 }, want: 'ERR_SNP_FIELD' },
    { name: 'signing key 2 (unknown)', fields: { keyInfo: 2 << 2 }, want: 'ERR_SNP_FIELD' },
    { name: 'an unknown bit beside the signing key', fields: { keyInfo: 1 << 5 }, want: 'ERR_SNP_FIELD' },
    { name: 'policy without bit 17', fields: { policy: 0x10000n }, want: 'ERR_SNP_FIELD' },
    { name: 'an unknown policy bit', fields: { policy: 0x30000n | (1n << 40n) }, want: 'ERR_SNP_FIELD' },
    { name: 'VMPL 4', fields: { vmpl: 4 }, want: 'ERR_SNP_FIELD' },
    { name: 'asked for by the host', fields: { vmpl: HOST_VMPL }, want: 'ERR_SNP_HOST_REQUESTED' },
    ...[0x4c, 0x18b, 0x19f, 0x1eb, 0x1ef, 0x208, 0x29f, 0x330, 0x49f].map((at) => ({
        name: `reserved byte 0x${at.toString(16)} set`,
        raw: () => flip(good, at),
        want: 'ERR_RESERVED',
    })),
    {
        name: 'R is zero',
        raw: () => Buffer.concat([good.subarray(0, 0x2a0), Buffer.alloc(72), good.subarray(0x2e8)]),
        want: 'ERR_SNP_SIGNATURE',
    },
    {
        name: 'S is zero',
        raw: () => Buffer.concat([good.subarray(0, 0x2e8), Buffer.alloc(72), good.subarray(0x330)]),
        want: 'ERR_SNP_SIGNATURE',
    },
    {
        name: 'R is the order of the group or more',
        raw: () => Buffer.concat([good.subarray(0, 0x2a0), Buffer.alloc(48, 0xff), good.subarray(0x2d0)]),
        want: 'ERR_SNP_SIGNATURE',
    },
    { name: 'byte 48 of R is set', raw: () => flip(good, 0x2a0 + 48), want: 'ERR_SNP_SIGNATURE' },
    { name: 'byte 71 of S is set', raw: () => flip(good, 0x2e8 + 71), want: 'ERR_SNP_SIGNATURE' },
    ...[
        ['guest SVN', 0x04],
        ['family id', 0x10],
        ['image id', 0x20],
        ['platform info', 0x40],
        ['report data', 0x50],
        ['measurement', 0x90],
        ['host data', 0xc0],
        ['id key digest', 0xe0],
        ['author key digest', 0x110],
        ['report id', 0x140],
        ['report id of the migration agent', 0x160],
        ['CPUID stepping', 0x18a],
        ['committed TCB', 0x1e0],
        ['current version', 0x1e8],
        ['committed version', 0x1ec],
        ['launch TCB', 0x1f0],
        ['launch mitigations', 0x1f8],
        ['current mitigations', 0x200],
    ].map(([field, at]) => ({
        name: `one bit of the ${field}`,
        raw: () => flip(good, at as number, 1),
        want: 'ERR_SNP_SIGNATURE',
    })),
    { name: 'a VCEK of another chip', certificates: onlyVcek(otherChip.vcek), want: 'ERR_SNP_CHIP_ID' },
    { name: 'a VCEK with one SPL off', certificates: onlyVcek(otherTcb.vcek), want: 'ERR_SNP_VEK_TCB' },
    { name: 'a chip id of zero', fields: { chipId: Buffer.alloc(64) }, want: 'ERR_SNP_CHIP_ID' },
    { name: 'a masked chip id', fields: { chipId: Buffer.alloc(64), keyInfo: 2 }, want: 'ERR_SNP_CHIP_ID' },
    {
        name: 'a firmware that runs behind what the VCEK stands for',
        fields: { currentTcb: 0n },
        want: 'ERR_SNP_VEK_TCB',
    },
    {
        name: 'a VLEK where a VCEK signed',
        certificates: encodeCertTable([{ guid: CERT_GUIDS.VLEK, data: vlekForVcek }]),
        want: 'ERR_SNP_VEK_KIND',
    },
    { name: 'a VCEK where a VLEK signed', fields: { keyInfo: 1 << 2 }, want: 'ERR_SNP_VEK_KIND' },
    { name: 'a VLEK named as VCEK in the table', certificates: onlyVcek(vlekForVcek), want: 'ERR_SNP_VEK_EXTENSION' },
    {
        name: 'a VLEK that signed and is named as VCEK in the table and in the report',
        of: { ...genoaVlek, kind: 'VCEK' },
        want: 'ERR_SNP_VEK_KIND',
    },
    {
        name: 'an ASK in the place of the VCEK',
        certificates: onlyVcek(genoa.certificates.ask),
        want: 'ERR_SNP_VEK_KIND',
    },
    {
        name: 'an ASK of another line',
        of: genoa,
        trust: { certificates: [named('ask', milan.certificates.ask)] },
        certificates: onlyVcek(genoa.certificates.vcek),
        want: 'ERR_SNP_CHAIN',
    },
    {
        name: "a line that the report's CPUID does not name",
        fields: { cpuidFamily: 0x19, cpuidModel: 0x01 },
        want: 'ERR_SNP_PRODUCT_LINE',
    },
    { name: 'a line that nobody knows', fields: { cpuidFamily: 0x1b, cpuidModel: 0x01 }, want: 'ERR_SNP_PRODUCT_LINE' },
    {
        name: "an attacker's chain with the same names, in the evidence",
        raw: () => report(foreign),
        certificates: table(foreign),
        want: 'ERR_SNP_CHAIN',
    },
    {
        name: "an attacker's chain, given with --certs too",
        raw: () => report(foreign),
        certificates: table(foreign),
        trust: { certificates: [named('ask', foreign.certificates.ask), named('ark', foreign.certificates.ark)] },
        want: 'ERR_SNP_CHAIN',
    },
    {
        name: 'the built-in roots alone',
        trust: { roots: undefined as never, withoutRevocation: true, revocationLists: [] },
        want: 'ERR_SNP_CHAIN',
    },
    { name: 'a root that is none', trust: { roots: [named('ask', genoa.certificates.ask)] }, want: 'ERR_SNP_CHAIN' },
    {
        name: 'an expired VCEK',
        trust: { revocationLists: [], withoutRevocation: true },
        at: later(8 * 365),
        want: 'ERR_SNP_TIME',
    },
    {
        name: 'before the VCEK is valid',
        trust: { revocationLists: [], withoutRevocation: true },
        at: later(-2),
        want: 'ERR_SNP_TIME',
    },
    { name: 'no list, and nobody said that this is fine', trust: { revocationLists: [] }, want: 'ERR_SNP_CRL_MISSING' },
    { name: 'a revoked ASK', trust: { revocationLists: [named('crl', revokingList)] }, want: 'ERR_SNP_REVOKED' },
    {
        name: 'a revoked ASK, although the caller goes without lists',
        trust: { revocationLists: [named('crl', revokingList)], withoutRevocation: true },
        want: 'ERR_SNP_REVOKED',
    },
    { name: 'a stale list', trust: { revocationLists: [named('crl', staleList)] }, want: 'ERR_SNP_CRL' },
    {
        name: 'a stale list that revokes, beside a current one',
        trust: { revocationLists: [named('old', staleRevokingList), named('crl', genoa.list)] },
        want: 'ERR_SNP_REVOKED',
    },
    { name: 'a list of tomorrow', trust: { revocationLists: [named('crl', futureList)] }, want: 'ERR_SNP_CRL' },
    {
        name: 'a list that somebody else signed',
        trust: { revocationLists: [named('crl', forgedList)] },
        want: 'ERR_SNP_CRL',
    },
    {
        name: 'a table whose offset and length run over 32 bits',
        certificates: withTable((t) => t.writeUInt32LE(0xfffffff0, 16)),
        want: 'ERR_SNP_CERT_TABLE',
    },
    {
        name: 'a table whose length leaves it',
        certificates: withTable((t) => t.writeUInt32LE(0x7fffffff, 20)),
        want: 'ERR_SNP_CERT_TABLE',
    },
    {
        name: 'a table that points into its header',
        certificates: withTable((t) => t.writeUInt32LE(0, 16)),
        want: 'ERR_SNP_CERT_TABLE',
    },
    {
        name: 'a table with an entry of no length',
        certificates: withTable((t) => t.writeUInt32LE(0, 20)),
        want: 'ERR_SNP_CERT_TABLE',
    },
    {
        name: 'a table with one GUID twice',
        certificates: withTable((t) => t.copy(t, 24, 0, 16)),
        want: 'ERR_SNP_CERT_TABLE',
    },
    { name: 'a table without a terminator', certificates: Buffer.alloc(24 * 4, 1), want: 'ERR_SNP_CERT_TABLE' },
    { name: 'an empty table', certificates: Buffer.alloc(24), want: 'ERR_SNP_NO_VEK' },
]

for (const given of CASES)
    test(`refused: ${given.name}`, (t) => {
        const { verdict, code, checks, claims } = verdictOf(given)
        t.is(code, given.want, JSON.stringify(checks))
        t.is(
            verdict,
            given.want === 'ERR_SNP_CRL_MISSING' || given.want === 'ERR_SNP_NO_VEK' ? 'undecided' : 'rejected',
        )
        t.is(claims, null)
        t.is(checks.filter(({ result }) => result === 'fail').length, 1)
    })

test('a VEK that signs with another curve is refused', (t) => {
    t.is(verdictOf({ name: '', certificates: onlyVcek(wrongCurve.vcek), want: '' }).code, 'ERR_SNP_SIGNATURE')
})

test('a chain that was verified once still expires, and is still revoked', (t) => {
    const verifier = snpVerifier(trustIn(genoa))
    const evidence = { tee: 'snp', report: good, certificates: table(genoa) }
    t.is(judge(verifier, evidence, {}, genoa.now).verdict, 'authentic')
    t.is(judge(verifier, evidence, {}, later(8 * 365)).code, 'ERR_SNP_TIME')
    t.is(judge(verifier, evidence, {}, later(366)).code, 'ERR_SNP_CRL')
})

test('certificates may be PEM, and several in one file', (t) => {
    const pem = Buffer.from([genoa.certificates.vcek, genoa.certificates.ask].map(certificatePem).join('\n'))
    const verifier = snpVerifier(trustIn(genoa, { certificates: [named('chain.pem', pem)] }))
    t.is(judge(verifier, { tee: 'snp', report: good }, {}, genoa.now).verdict, 'authentic')
})
