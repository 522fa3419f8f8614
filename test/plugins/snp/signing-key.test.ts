// Which certificate is taken for the key that signed: of all that were given the one that fits, else the evidence's own,
// else the nearest, and what is wrong with it. The reports are signed by a minted vendor.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { judge } from '#evidence/judge.ts'
import { CERT_GUIDS, encodeCertTable } from '#plugins/snp/cert-table.ts'
import type { Generation } from '#plugins/snp/generations.ts'
import { generateVendorKeys, mintChain } from '#plugins/snp/mint.ts'
import { snpVerifier } from '#plugins/snp/verifier.ts'
import { named, report, trustIn, type Vendor, vendor, withVlek } from './minted.ts'

const keys = await generateVendorKeys()
const genoa = await vendor('genoa', keys)
const milan = await vendor('milan', keys)
const turin = await vendor('turin', keys)

/** The same vendor's chain for another chip, TCB or time. */
async function other(of: Vendor, changed: { chip?: number; generation?: Partial<Generation>; days?: number }) {
    const generation: Generation = { ...of.generation, ...changed.generation }
    const chipId = Buffer.from(of.chipId)
    if (changed.chip) chipId.fill(changed.chip, 0, generation.line === 'Turin' ? 8 : 64)
    const now = new Date(of.now.getTime() + (changed.days ?? 0) * 86_400_000)
    return { ...of, generation, chipId, certificates: await mintChain(generation, keys, chipId, now) }
}

const newer = { bootLoader: 10, tee: 0, snp: 28, microcode: 27 }
const chipB = await other(genoa, { chip: 0xb })
const nextTcb = await other(genoa, { generation: { tcb: newer } })
const chipBNextTcb = await other(genoa, { chip: 0xb, generation: { tcb: newer } })
const turinB = await other(turin, { chip: 0xb })
const expired = await other(genoa, { days: -3000 })
const future = await other(genoa, { generation: { productName: 'Venice' } })
const west = await withVlek(genoa, 'cc-eu-west-1.amazonaws.com')
const north = await withVlek(genoa, 'cc-eu-north-1.amazonaws.com')
const lastYear = await withVlek(genoa, 'x', { notBefore: new Date(genoa.now.getTime() - 400 * 86_400_000), days: 365 })

interface Case {
    readonly name: string
    readonly of: Vendor
    readonly given: readonly Vendor[]
    /** Whose certificate stands in the host's table. */
    readonly own?: Vendor
    /** What is said of the choice, or the code of the check that it fails. */
    readonly want: string
    readonly version?: number
}

const VCEK_GIVEN = 'VCEK, given'
const VLEK_GIVEN = 'VLEK, given'

const CASES: readonly Case[] = [
    ...[genoa, chipB].flatMap((of, i) => [
        { name: `chip ${i} of two chips`, of, given: [genoa, chipB], want: VCEK_GIVEN },
        { name: `chip ${i} of two chips, the other first`, of, given: [chipB, genoa], want: VCEK_GIVEN },
    ]),
    ...[turin, turinB].map((of, i) => ({
        name: `chip ${i} of two that eight bytes name`,
        of,
        given: [turin, turinB],
        want: VCEK_GIVEN,
    })),
    ...[genoa, nextTcb].map((of, i) => ({
        name: `TCB ${i} of two TCBs`,
        of,
        given: [genoa, nextTcb],
        want: VCEK_GIVEN,
    })),
    ...[milan, genoa, turin].map((of) => ({
        name: `${of.generation.line} of three lines`,
        of,
        given: [turin, genoa, milan],
        want: VCEK_GIVEN,
    })),
    { name: 'version 2, which names no line', of: milan, given: [genoa, milan], version: 2, want: VCEK_GIVEN },
    { name: 'a renewed certificate beside the expired one', of: genoa, given: [expired, genoa], want: VCEK_GIVEN },
    { name: 'one of processors to come beside the right one', of: genoa, given: [future, genoa], want: VCEK_GIVEN },
    { name: 'a VLEK beside a VCEK', of: genoa, given: [west, genoa], want: VCEK_GIVEN },
    ...[west, north].map((of, i) => ({
        name: `provider ${i} of two with the same TCB`,
        of,
        given: [west, north],
        want: VLEK_GIVEN,
    })),

    ...[
        { name: 'another chip', given: [chipB] },
        { name: 'another TCB', given: [nextTcb] },
        { name: 'another line', given: [milan] },
        { name: 'one that has expired', given: [expired] },
        { name: 'one that cannot be read', given: [future] },
        { name: 'a VLEK', given: [west] },
        { name: 'nothing', given: [] },
    ].map(({ name, given }) => ({
        name: `the evidence's own where ${name} is given`,
        of: genoa,
        own: genoa,
        given,
        want: 'VCEK, from the evidence',
    })),
    {
        name: 'the given one where the host stored another chip’s',
        of: genoa,
        given: [genoa],
        own: chipB,
        want: VCEK_GIVEN,
    },
    { name: "the evidence's own VLEK", of: west, given: [north, genoa], own: west, want: 'VLEK, from the evidence' },
    { name: "a provider's new VLEK", of: north, given: [lastYear], own: north, want: 'VLEK, from the evidence' },

    { name: 'another chip alone', of: genoa, given: [chipB], want: 'ERR_SNP_CHIP_ID' },
    { name: 'another TCB alone', of: genoa, given: [nextTcb], want: 'ERR_SNP_VEK_TCB' },
    { name: 'the chip comes before the TCB', of: genoa, given: [chipB, nextTcb], want: 'ERR_SNP_VEK_TCB' },
    { name: 'the line comes before the chip', of: genoa, given: [milan, chipBNextTcb], want: 'ERR_SNP_VEK_TCB' },
    {
        name: 'another chip at another TCB, after another chip',
        of: genoa,
        given: [chipBNextTcb, chipB],
        want: 'ERR_SNP_CHIP_ID',
    },
    { name: 'one that has expired alone', of: genoa, given: [expired], want: 'ERR_SNP_TIME' },
    { name: 'one that cannot be read alone', of: genoa, given: [future], want: 'ERR_SNP_PRODUCT_LINE' },
    { name: 'a VLEK alone', of: genoa, given: [west], want: 'ERR_SNP_VEK_KIND' },
    { name: "another provider's VLEK alone", of: west, given: [north], want: 'ERR_SNP_SIGNATURE' },
    { name: "an old VLEK of another's alone", of: west, given: [lastYear], want: 'ERR_SNP_TIME' },
    { name: 'nothing at all', of: genoa, given: [], want: 'ERR_SNP_NO_VEK' },
]

for (const { name, of, given, own, version, want } of CASES)
    test(`${name}: ${want}`, (t) => {
        // The intermediates are given, so that nothing but the choice decides.
        const issuers = [of, ...given].map(({ certificates: { ask } }) => ask)
        const certificates = [...given.map(({ certificates: { vcek } }) => vcek), ...issuers]
        const verifier = snpVerifier({
            ...trustIn(of, { revocationLists: [], withoutRevocation: true }),
            roots: [milan, genoa, turin].map(({ certificates: { ark } }) => named('ark', ark)),
            certificates: certificates.map((der, i) => named(`${i}.der`, der)),
        })
        const evidence = {
            tee: 'snp',
            report: report(of, version ? { version } : {}),
            ...(own && { certificates: encodeCertTable([{ guid: CERT_GUIDS[of.kind], data: own.certificates.vcek }]) }),
        }
        const { code, checks } = judge(verifier, evidence, {}, of.now)
        const detail = checks.find((check) => check.name === 'signing-key')?.detail
        t.is(code ?? detail, want, JSON.stringify(checks))
        t.is(checks.filter(({ result }) => result === 'fail').length, want.startsWith('ERR_') ? 1 : 0)
    })
