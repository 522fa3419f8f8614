// Is it authentic? Quotes that are minted and really signed, and every mutation that must be refused, with its code and
// the check that refuses it. What Intel states is collateral.test.ts.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { certificatePem } from '#core/mint.ts'
import { DEFAULT_PLATFORM, encodeSgxExtension, mintLists } from '#plugins/tdx/mint/mint.ts'
import { pckChain, publicPoint, tcbSvn } from '#plugins/tdx/mint/quote.ts'
import { DEFAULT_MODULES, DEFAULT_QE } from '#plugins/tdx/mint/statements.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { judgeOf } from './judged.ts'
import { identityOf, infoOf, listsOf, named, quote, serialOf, trustIn, vendor, withLists } from './minted.ts'
import { cases, judgedBy, type Refused, testAuthentic, testRefused } from './refused.ts'

// The order of the group of P-256.
const ORDER = Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex')

const DAY = 24 * 3_600_000
const intel = await vendor()
const foreign = await vendor()
const { certificates, keys, now } = intel
const later = (days: number): Date => new Date(now.getTime() + days * DAY)
const good = quote(intel)
const version5 = quote(intel, { version: 5, bodyType: 3 })

const judged = judgedBy(intel)

const edit = (raw: Buffer, change: (bytes: Buffer) => void): (() => Buffer) => {
    const out = Buffer.from(raw)
    change(out)
    return () => out
}
const flip = (raw: Buffer, at: number, bit = 0) => edit(raw, (bytes) => (bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)))

const pem = (...ders: readonly Buffer[]) => ({
    type: 5,
    data: Buffer.from(ders.map(certificatePem).join('')),
})
const { pck, platform, root, tcbSigning } = certificates

const withChain = (changes: Parameters<typeof vendor>[1]) => vendor(keys, changes)
const outOf = (role: keyof typeof certificates, notBefore: Date, notAfter: Date) =>
    withChain({ validity: { [role]: { notBefore, notAfter } } })
const expired = {
    pck: await outOf('pck', later(-30), later(-1)),
    platform: await outOf('platform', later(-30), later(-1)),
    root: await outOf('root', later(-30), later(-1)),
    tcbSigning: await outOf('tcbSigning', later(-30), later(-1)),
}
const early = await outOf('pck', later(1), later(30))
const noExtension = await withChain({ sgxExtension: null })
const brokenExtension = await withChain({ sgxExtension: Buffer.from('3003020101', 'hex') })
const fiveMembers = await withChain({ sgxExtension: encodeSgxExtension(DEFAULT_PLATFORM, 5) })
const sixMembers = await withChain({ sgxExtension: encodeSgxExtension(DEFAULT_PLATFORM, 6) })
const strangeSvn = await withChain({ sgxExtension: encodeSgxExtension({ ...DEFAULT_PLATFORM, pceSvn: 0x10000 }) })
const processor = await withChain({
    names: { platform: 'Intel SGX PCK Processor CA' },
    sgxExtension: encodeSgxExtension(DEFAULT_PLATFORM, 5),
})
const processorLists = await mintLists(keys, now, { names: { platform: 'Intel SGX PCK Processor CA' } })
const otherCa = await withChain({ names: { platform: 'Intel SGX PCK Cloud CA' } })
const otherLeaf = await withChain({ names: { pck: 'Intel SGX PCK Certificat' } })
const unmarked = await withChain({ unmarked: true })

const lists = {
    pckRevoked: await withLists(intel, { pck: { revoked: [serialOf(pck)] } }),
    caRevoked: await withLists(intel, { root: { revoked: [serialOf(platform)] } }),
    signerRevoked: await withLists(intel, { root: { revoked: [serialOf(tcbSigning)] } }),
    staleRevoked: await withLists(intel, {
        pck: { revoked: [serialOf(pck)], thisUpdate: later(-60), nextUpdate: later(-30) },
    }),
    expired: await withLists(intel, { pck: { thisUpdate: later(-60), nextUpdate: later(-30) } }),
    expiredRoot: await withLists(intel, { root: { thisUpdate: later(-60), nextUpdate: later(-30) } }),
    future: await withLists(intel, { pck: { thisUpdate: later(1), nextUpdate: later(30) } }),
    ofOtherName: await mintLists(keys, now, { names: { platform: 'Intel SGX PCK Platform CA ' } }),
}

const noLists = { revocationLists: [], withoutRevocation: true }
const info = (changed: Readonly<Record<string, unknown>>) => ({
    statements: [infoOf(intel, changed), identityOf(intel)],
})
const identity = (changed: Readonly<Record<string, unknown>>) => ({
    statements: [infoOf(intel), identityOf(intel, changed)],
})

testAuthentic(intel, [
    { name: 'version 4', raw: () => good },
    { name: 'version 5, TDX 1.0', quote: { version: 5 } },
    { name: 'version 5, TDX 1.5', raw: () => version5 },
    { name: 'version 5, TDX 1.5 extended', quote: { version: 5, bodyType: 4 } },
    { name: 'with a page of anything behind it', raw: () => Buffer.concat([good, Buffer.alloc(4096, 0xa5)]) },
    { name: 'the chain in another order', quote: { certification: pem(root, pck, platform) } },
    { name: 'the chain without the root', quote: { certification: pem(pck, platform) } },
    { name: 'the chain without the zero behind it', quote: { certification: pem(pck, platform, root) } },
    {
        name: 'the PCK alone, its CA given',
        quote: { certification: pem(pck) },
        trust: { certificates: [tcbSigning, platform].map((der) => named('given', der)) },
    },
    { name: 'no authentication data', quote: { authData: Buffer.alloc(0) } },
    { name: 'much authentication data', quote: { authData: Buffer.alloc(1000, 7) } },
    { name: 'a debug TD: authentic, and any policy refuses it', quote: { body: { tdAttributes: 1n } } },
    { name: 'issued by the Processor CA', of: processor, trust: { revocationLists: listsOf(processorLists) } },
    {
        name: 'lists as PEM and as hex text',
        trust: {
            revocationLists: [
                named('root', intel.lists.root.toString('hex')),
                named(
                    'pck',
                    `-----BEGIN X509 CRL-----\n${intel.lists.pck.toString('base64')}\n-----END X509 CRL-----\n`,
                ),
            ],
        },
    },
    { name: 'without lists, where the caller says so', trust: noLists },
    { name: 'without statements, where the caller says so', trust: { statements: [], withoutStatus: true } },
    {
        name: 'a list that is not signed beside one that is',
        trust: { revocationLists: [...listsOf(foreign.lists), ...listsOf(intel.lists)] },
    },
    {
        name: 'an expired list beside a current one',
        trust: { revocationLists: [...listsOf(lists.expired), ...listsOf(intel.lists)] },
    },
])

const CASES: readonly Refused[] = [
    ...cases('ERR_TDX_QUOTE', 'format', [
        { name: 'empty', raw: () => Buffer.alloc(0) },
        ...[47, 48, 631, 633, 636, 700, 764, 770, 1154, 1218, 1220, 1252].map((size) => ({
            name: `cut after ${size} bytes`,
            raw: () => good.subarray(0, size),
        })),
        { name: 'cut before its last byte', raw: () => good.subarray(0, good.length - 1) },
        ...[47, 53, 54, 701, 705].map((size) => ({
            name: `version 5, cut after ${size} bytes`,
            raw: () => version5.subarray(0, size),
        })),
        ...[0, 1, 2, 3, 6].map((version) => ({
            name: `version ${version}`,
            raw: edit(good, (bytes) => bytes.writeUInt16LE(version, 0)),
        })),
        { name: 'attestation key type 3', raw: edit(good, (bytes) => bytes.writeUInt16LE(3, 2)) },
        { name: 'TEE type 0', raw: edit(good, (bytes) => bytes.writeUInt32LE(0, 4)) },
        { name: 'TEE type 0x82', raw: edit(good, (bytes) => bytes.writeUInt32LE(0x82, 4)) },
        { name: 'another vendor of the QE', raw: flip(good, 12) },
        ...[0, 1, 5].map((type) => ({
            name: `body type ${type}`,
            raw: edit(version5, (bytes) => bytes.writeUInt16LE(type, 48)),
        })),
        { name: 'body type 2 with the size of 3', raw: edit(version5, (bytes) => bytes.writeUInt16LE(2, 48)) },
        { name: 'body size 649', raw: edit(version5, (bytes) => bytes.writeUInt32LE(649, 50)) },
        { name: 'signature data beyond the end', raw: edit(good, (bytes) => bytes.writeUInt32LE(0xffffffff, 632)) },
        { name: 'signature data one byte longer', raw: () => longer(good) },
        { name: 'certification data of no size', raw: edit(good, (bytes) => bytes.writeUInt32LE(0, 766)) },
        { name: 'authentication data of 65535 bytes', raw: edit(good, (bytes) => bytes.writeUInt16LE(65535, 1218)) },
        { name: 'more than 128 KiB', raw: () => Buffer.concat([good, Buffer.alloc(128 << 10)]) },
    ]),
    ...cases('ERR_TDX_CERTIFICATION', 'format', [
        { name: 'outer certification 5', raw: edit(good, (bytes) => bytes.writeUInt16LE(5, 764)) },
        ...[0, 1, 2, 3, 4, 6, 7, 8].map((type) => ({
            name: `inner certification ${type}`,
            quote: { certification: { type, data: pckChain(certificates) } },
        })),
    ]),
    ...cases('ERR_TDX_CERTIFICATION', 'chain', [
        { name: 'no PEM', quote: { certification: { type: 5, data: Buffer.from('certificates') } } },
        { name: 'DER instead of PEM', quote: { certification: { type: 5, data: pck } } },
        {
            name: 'text between the certificates',
            quote: {
                certification: {
                    type: 5,
                    data: Buffer.from(`${certificatePem(pck)}x${certificatePem(platform)}`),
                },
            },
        },
    ]),
    ...cases('ERR_CERTIFICATE', 'chain', [
        {
            name: 'PEM of no certificate',
            quote: { certification: { type: 5, data: pemOf(Buffer.from('3003020101', 'hex')) } },
        },
        {
            name: 'bytes behind a certificate',
            quote: { certification: { type: 5, data: pemOf(pck, Buffer.alloc(1)) } },
        },
    ]),
    ...cases('ERR_TDX_CHAIN', 'chain', [
        { name: 'four certificates', quote: { certification: pem(pck, platform, root, root) } },
        { name: 'two PCKs', quote: { certification: pem(pck, pck, platform) } },
        { name: 'no PCK', quote: { certification: pem(platform, root) } },
        { name: 'the PCK alone', quote: { certification: pem(pck) } },
        { name: 'the root of another', quote: { certification: pem(pck, platform, foreign.certificates.root) } },
        { name: 'the CA of another', quote: { certification: pem(pck, foreign.certificates.platform, root) } },
        { name: 'the PCK of another', quote: { certification: pem(foreign.certificates.pck, platform, root) } },
        { name: 'the signer of statements as the CA', quote: { certification: pem(pck, tcbSigning, root) } },
        { name: 'the chain of another', raw: () => quote(foreign) },
        { name: 'under the built-in root', trust: { roots: undefined as never } },
        { name: 'a CA of another name', of: otherCa },
        { name: 'a PCK of another name', of: otherLeaf },
        { name: 'no root among those that were given', trust: { roots: [named('ca', platform)] } },
        {
            name: 'not marked, and not trusted',
            of: unmarked,
            trust: { roots: [named('other', foreign.certificates.root)] },
        },
    ]),
    ...cases('ERR_TDX_PCK', 'chain', [
        { name: 'without the SGX extension', of: noExtension },
        { name: 'a broken SGX extension', of: brokenExtension },
        { name: 'five members by the Platform CA', of: fiveMembers },
        { name: 'six members', of: sixMembers },
        { name: 'a PCE SVN of 17 bits', of: strangeSvn },
    ]),
    ...cases('ERR_TDX_TIME', 'validity', [
        { name: 'an expired PCK', of: expired.pck },
        { name: 'an expired CA', of: expired.platform },
        { name: 'an expired root', of: expired.root },
        { name: 'a PCK of the future', of: early },
        { name: 'in a hundred years', at: later(36_500) },
    ]),
    ...cases('ERR_TDX_REVOKED', 'revocation', [
        { name: 'a revoked PCK', trust: { revocationLists: listsOf(lists.pckRevoked) } },
        { name: 'a revoked CA', trust: { revocationLists: listsOf(lists.caRevoked) } },
        {
            name: 'a PCK revoked by a stale list beside a current one',
            trust: { revocationLists: [...listsOf(intel.lists), ...listsOf(lists.staleRevoked)] },
        },
        {
            name: 'a revoked PCK, where no list would do',
            trust: { revocationLists: [named('pck', lists.pckRevoked.pck)], withoutRevocation: true },
        },
    ]),
    ...cases('ERR_TDX_REVOKED', 'collateral', [
        { name: 'a revoked signer of statements', trust: { revocationLists: listsOf(lists.signerRevoked) } },
    ]),
    ...cases('ERR_TDX_CRL', 'revocation', [
        { name: 'lists of another', trust: { revocationLists: listsOf(foreign.lists) } },
    ]),
    ...cases('ERR_TDX_CRL_MISSING', 'revocation', [
        { name: 'no lists', trust: { revocationLists: [] } },
        { name: 'no list of the root', trust: { revocationLists: [named('pck', intel.lists.pck)] } },
        { name: 'no list of the PCK CA', trust: { revocationLists: [named('root', intel.lists.root)] } },
        { name: 'the list of a CA whose name differs', trust: { revocationLists: listsOf(lists.ofOtherName) } },
    ]),
    ...cases('ERR_TDX_COLLATERAL_TIME', 'revocation', [
        { name: 'a list of the future', trust: { revocationLists: listsOf(lists.future) } },
    ]),
    ...cases('ERR_TDX_COLLATERAL_TIME', 'collateral-time', [
        { name: 'an expired list of the PCK CA', trust: { revocationLists: listsOf(lists.expired) } },
        { name: 'an expired list of the root', trust: { revocationLists: listsOf(lists.expiredRoot) } },
    ]),
    ...cases('ERR_TDX_COLLATERAL_TIME', 'collateral', [
        { name: 'an expired signer of statements', of: expired.tcbSigning },
    ]),
    ...cases('ERR_TDX_MODULE', 'module', [
        { name: 'SEAM attributes', quote: { body: { seamAttributes: 1n } } },
        { name: 'SEAM attributes that the mask leaves out', quote: { body: { seamAttributes: 1n << 63n } } },
        { name: 'a signer of the module', quote: { body: { mrSignerSeam: Buffer.alloc(48, 1) } } },
        {
            name: 'a signer of the module, without statements',
            quote: { body: { mrSignerSeam: Buffer.alloc(48, 1) } },
            trust: { statements: [], withoutStatus: true },
        },
        {
            name: 'SEAM attributes, without statements',
            quote: { body: { seamAttributes: 2n } },
            trust: { statements: [], withoutStatus: true },
        },
        { name: 'a module that nobody names', quote: { body: { teeTcbSvn: tcbSvn({ moduleVersion: 2 }) } } },
        { name: 'no identities of modules', trust: info({ tdxModuleIdentities: undefined }) },
        {
            name: 'another signer named',
            trust: info({
                tdxModuleIdentities: DEFAULT_MODULES.map((module) => ({ ...module, mrsigner: '01'.repeat(48) })),
            }),
        },
        {
            name: 'the first module, by another signer',
            quote: { body: { teeTcbSvn: tcbSvn({ moduleVersion: 0 }) } },
            trust: info({
                tdxModule: { mrsigner: '01'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) },
            }),
        },
    ]),
    ...cases('ERR_TDX_QE', 'quoting-enclave', [
        { name: 'a QE report that was changed', raw: flip(good, 770 + 64) },
        { name: 'a QE report signed by another', of: { ...intel, keys: { ...keys, pck: foreign.keys.pck } } },
        { name: 'another attestation key', quote: { qeReport: { reportData: Buffer.alloc(64, 1) } } },
        {
            name: 'the attestation key swapped',
            raw: edit(good, (bytes) => void publicPoint(foreign.keys.attestation).copy(bytes, 700)),
        },
        { name: 'other authentication data', raw: flip(good, 1220) },
        {
            name: 'report data with something behind the digest',
            raw: () => {
                const parts = parseQuote(good)
                const qeReport = Buffer.from(parts.qeReport)
                qeReport[383] = 1
                return quote(intel, { qeReport: { reportData: qeReport.subarray(320) } })
            },
        },
        { name: 'a debug QE', quote: { qeReport: { attributes: Buffer.from(`13${'00'.repeat(15)}`, 'hex') } } },
    ]),
    ...cases('ERR_TDX_QE', 'qe-identity', [
        { name: 'another MISCSELECT', quote: { qeReport: { miscSelect: 1 } } },
        { name: 'other ATTRIBUTES', quote: { qeReport: { attributes: Buffer.from(`31${'00'.repeat(15)}`, 'hex') } } },
        { name: 'another MRSIGNER', quote: { qeReport: { mrSigner: Buffer.alloc(32, 1) } } },
        { name: 'another ISVPRODID', quote: { qeReport: { isvProdId: 1 } } },
        { name: 'another MISCSELECT wanted', trust: identity({ miscselect: '01000000' }) },
        { name: 'other ATTRIBUTES wanted', trust: identity({ attributes: `15${'00'.repeat(15)}` }) },
    ]),
    ...cases('ERR_TDX_SIGNATURE', 'signature', [
        { name: 'no signature', raw: edit(good, (bytes) => void bytes.fill(0, 636, 700)) },
        { name: 'a signature of the order of the group', raw: edit(good, (bytes) => void ORDER.copy(bytes, 636)) },
        {
            name: 'signed by another',
            of: { ...intel, keys: { ...keys, attestation: foreign.keys.attestation } },
            quote: { attestationKey: publicPoint(keys.attestation) },
        },
        ...[8, 28, 48, 64, 112 + 56, 184, 232, 376, 568, 631].map((at) => ({
            name: `byte ${at} changed`,
            raw: flip(good, at, 5),
        })),
    ]),
    ...cases('ERR_TDX_SIGNATURE', 'quoting-enclave', [
        { name: 'an attestation key that is no point', quote: { attestationKey: Buffer.alloc(64, 1) } },
    ]),
]

testRefused(intel, CASES)

test('an expired list does not hide what it revokes, and a current one is what counts as checked', (t) => {
    const { authentic } = judged({ name: '', trust: { revocationLists: listsOf(lists.expired) } })
    t.false(authentic?.revocationChecked)
    t.regex(authentic?.platform.collateralExpired?.what ?? '', /pck\.crl/)
    t.true(judged({ name: '' }).authentic?.revocationChecked)
    t.false(judged({ name: '', trust: noLists }).authentic?.revocationChecked)
})

test('a verifier keeps nothing that changes: time, lists and each quote are judged every time', (t) => {
    const judge = judgeOf(trustIn(intel))
    t.is(judge(good, now).code, null)
    t.is(judge(good, later(4000)).code, 'ERR_TDX_TIME')
    t.is(judge(good, later(-2)).code, 'ERR_TDX_TIME')
    t.is(judge(flip(good, 600)(), now).code, 'ERR_TDX_SIGNATURE')
    t.is(judge(quote(intel, { body: { teeTcbSvn: tcbSvn({ microcode: 4 }) } }), now).code, 'ERR_TDX_STATUS')
    t.is(judge(good, later(366)).code, 'ERR_TDX_COLLATERAL_TIME')
    t.is(judge(good, now).code, null)
})

test('what is said of a platform', (t) => {
    const { authentic } = judged({ name: '', quote: { version: 5, bodyType: 3 } })
    const { platform } = authentic ?? t.fail()
    t.like(platform, {
        tcbStatus: 'UpToDate',
        platformStatus: 'UpToDate',
        moduleStatus: 'UpToDate',
        qeStatus: 'UpToDate',
        relaunchAdvised: false,
        tcbEvaluationDataNumber: 18,
        collateralExpired: null,
        fmspc: DEFAULT_PLATFORM.fmspc.toString('hex'),
        pceId: '0000',
        pckCa: 'platform',
        sgxType: 'Scalable',
        dynamicPlatform: true,
        cachedKeys: false,
        smtEnabled: true,
        pceSvn: DEFAULT_PLATFORM.pceSvn,
        qeIsvSvn: DEFAULT_QE.tcbLevels[0]?.tcb.isvsvn ?? -1,
        emulated: true,
    })
    t.is(platform.tcbDate?.toISOString(), '2024-11-13T00:00:00.000Z')
    t.regex(platform.pckCrlNumber ?? '', /^\d+$/)
    t.is(platform.earliestExpiry.toISOString().slice(0, 10), later(364).toISOString().slice(0, 10))
    t.is(authentic?.measurement, '22'.repeat(48))
    t.is(authentic?.guestId, null)
})

function longer(raw: Buffer): Buffer {
    const out = Buffer.concat([raw, Buffer.alloc(1)])
    out.writeUInt32LE(out.readUInt32LE(632) + 1, 632)
    return out
}

function pemOf(...parts: readonly Buffer[]): Buffer {
    const text = Buffer.concat(parts).toString('base64')
    return Buffer.from(`-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`)
}
