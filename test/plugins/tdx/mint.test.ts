// What the emulated vendor mints, by the eyes of others: node:crypto, openssl, and a real platform's certificate.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { createHash, createPublicKey, type KeyObject, verify, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { EMULATION_OID } from '#core/emulation-mark.ts'
import { certificatePem } from '#core/mint.ts'
import {
    derBoolean,
    derInteger,
    derOctets,
    derValues,
    parseCertificate,
    parseCertificates,
    parseRevocationList,
} from '#core/x509.ts'
import {
    DEFAULT_PLATFORM,
    encodeSgxExtension,
    generateVendorKeys,
    mintChain,
    mintLists,
    NAMES,
    type VendorCertificates,
    type VendorKeys,
} from '#plugins/tdx/mint/mint.ts'
import { mintQuote, type QuoteChanges } from '#plugins/tdx/mint/quote.ts'
import { bundle, qeIdentity, signStatement, statementText, tcbInfo } from '#plugins/tdx/mint/statements.ts'
import { parseQuote, QE_REPORT } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'
import { programs, VECTORS, vectors } from '#test/machine.ts'
import { needs } from '#test/needs.ts'

const now = new Date()
const roles = Object.keys(NAMES) as (keyof VendorCertificates)[]
const SGX_OID = '1.2.840.113741.1.13.1'

let keys: VendorKeys
let certificates: VendorCertificates
test.before(async () => {
    keys = await generateVendorKeys()
    certificates = await mintChain(keys, DEFAULT_PLATFORM, now)
})

const signedBy = (key: KeyObject, bytes: Buffer, signature: Buffer): boolean =>
    verify('sha256', bytes, { key: createPublicKey(key), dsaEncoding: 'ieee-p1363' }, signature)

for (const role of roles)
    test(`certificate of ${role}: its name, its issuer, the mark`, (t) => {
        const issuer = role === 'pck' ? 'platform' : 'root'
        const parsed = parseCertificate(certificates[role], role)
        const { x509 } = parsed
        t.is(parsed.subjectCn, NAMES[role])
        t.is(parsed.issuerCn, NAMES[issuer])
        t.true(x509.verify(createPublicKey(keys[issuer])))
        t.true(x509.checkIssued(new X509Certificate(certificates[issuer])))
        t.is(x509.ca, role === 'root' || role === 'platform')
        t.true(parsed.notBefore < now && parsed.notAfter > now)
        t.is(parsed.extensions.has(SGX_OID), role === 'pck')
        t.true(parsed.extensions.has(EMULATION_OID))
        t.is(x509.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    })

test('a chain can be other than it would be', async (t) => {
    const notAfter = new Date(now.getTime() - 1000)
    const names = { platform: 'Intel SGX PCK Processor CA', pck: 'Somebody' }
    const chain = await mintChain(keys, DEFAULT_PLATFORM, now, {
        names,
        validity: { pck: { notAfter } },
        sgxExtension: null,
        unmarked: true,
    })
    const pck = parseCertificate(chain.pck, 'pck')
    t.is(pck.subjectCn, 'Somebody')
    t.is(pck.issuerCn, names.platform)
    t.is(Math.floor(pck.notAfter.getTime() / 1000), Math.floor(notAfter.getTime() / 1000))
    t.is(pck.extensions.get(SGX_OID), undefined)
    for (const role of roles) t.false(parseCertificate(chain[role], role).extensions.has(EMULATION_OID), role)
})

test('revocation lists are signed by whoever issues, and revoke what they are told', async (t) => {
    const serial = new X509Certificate(certificates.pck).serialNumber
    const lists = await mintLists(keys, now, { pck: { revoked: [serial], number: 7 } })
    const [root, pck] = [parseRevocationList(lists.root, 'root'), parseRevocationList(lists.pck, 'pck')]
    t.true(root.verify(createPublicKey(keys.root)))
    t.true(pck.verify(createPublicKey(keys.platform)))
    t.false(pck.verify(createPublicKey(keys.root)))
    t.deepEqual([root.issuerCn, pck.issuerCn], [NAMES.root, NAMES.platform])
    t.is(root.revoked.size, 0)
    t.true(pck.revoked.has(parseCertificate(certificates.pck, 'pck').serial))
})

needs(programs('openssl'))('openssl follows the chain, and sees what is revoked', async (t) => {
    const folder = temporaryFolder(t)
    const file = (name: string, text: string) => {
        writeFileSync(join(folder, name), text)
        return join(folder, name)
    }
    const pemOf = (list: Buffer) =>
        `-----BEGIN X509 CRL-----\n${list.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END X509 CRL-----\n`
    const good = await mintLists(keys, now)
    const bad = await mintLists(keys, now, { pck: { revoked: [new X509Certificate(certificates.pck).serialNumber] } })
    const check = (list: Buffer) =>
        spawnSync(
            'openssl',
            [
                ...['verify', '-crl_check_all', '-CAfile', file('root.pem', certificatePem(certificates.root))],
                ...['-untrusted', file('ca.pem', certificatePem(certificates.platform))],
                ...['-CRLfile', file('root.crl', pemOf(good.root)), '-CRLfile', file('pck.crl', pemOf(list))],
                file('pck.pem', certificatePem(certificates.pck)),
            ],
            { encoding: 'utf8' },
        )
    const passed = check(good.pck)
    t.is(passed.status, 0, passed.stderr)
    t.regex(check(bad.pck).stderr, /certificate revoked/)
})

const REAL_QUOTE = 'snp-tdx/derived/az-tdx-live.quote.bin'

needs(vectors(REAL_QUOTE))("the SGX extension of a real platform's PCK, byte for byte", (t) => {
    const quote = parseQuote(readFileSync(join(VECTORS, REAL_QUOTE)))
    const [pck] = parseCertificates(quote.certification.data, REAL_QUOTE)
    const real = pck?.extensions.get(SGX_OID) ?? Buffer.alloc(0)
    const all = derValues(real, 'extension')
    const value = (arc: string, from = all) => from.get(`${SGX_OID}.${arc}`) ?? Buffer.alloc(0)
    const tcb = derValues(value('2'), 'tcb')
    const flags = derValues(value('7'), 'configuration')
    const made = encodeSgxExtension({
        ppid: derOctets(value('1'), 'ppid'),
        sgxSvns: Array.from({ length: 16 }, (_, index) => derInteger(value(`2.${index + 1}`, tcb), 'svn')),
        pceSvn: derInteger(value('2.17', tcb), 'pcesvn'),
        cpuSvn: derOctets(value('2.18', tcb), 'cpusvn'),
        pceId: derOctets(value('3'), 'pceid'),
        fmspc: derOctets(value('4'), 'fmspc'),
        sgxType: derInteger(value('5'), 'type'),
        platformInstanceId: derOctets(value('6'), 'instance'),
        dynamicPlatform: derBoolean(value('7.1', flags), 'dynamic'),
        cachedKeys: derBoolean(value('7.2', flags), 'cached'),
        smt: derBoolean(value('7.3', flags), 'smt'),
    })
    t.deepEqual(made, real)
})

test('statements: the signature is of the inner object as it stands', (t) => {
    for (const [name, content] of [
        ['tcbInfo', tcbInfo(now)],
        ['enclaveIdentity', qeIdentity(now)],
    ] as const) {
        const signed = signStatement(content, keys.tcbSigning)
        t.true(signedBy(keys.tcbSigning, Buffer.from(signed.inner), Buffer.from(signed.signature, 'hex')))
        const answer = JSON.parse(statementText(name, signed)) as Record<string, unknown>
        t.deepEqual(answer[name], content)
        t.is(answer['signature'], signed.signature)
    }
    const spaced = signStatement('{ "id": "TDX" }', keys.tcbSigning)
    t.is(spaced.inner, '{ "id": "TDX" }')
})

test('the bundle has the nine members, whose chains lead to the root', async (t) => {
    const lists = await mintLists(keys, now)
    const info = signStatement(tcbInfo(now), keys.tcbSigning)
    const made = bundle(certificates, lists, info, signStatement(qeIdentity(now), keys.tcbSigning))
    t.deepEqual(
        Object.keys(made).toSorted((a, b) => (a < b ? -1 : 1)),
        [
            'pck_crl',
            'pck_crl_issuer_chain',
            'qe_identity',
            'qe_identity_issuer_chain',
            'qe_identity_signature',
            'root_ca_crl',
            'tcb_info',
            'tcb_info_issuer_chain',
            'tcb_info_signature',
        ],
    )
    for (const [member, signer] of [
        ['pck_crl_issuer_chain', NAMES.platform],
        ['tcb_info_issuer_chain', NAMES.tcbSigning],
        ['qe_identity_issuer_chain', NAMES.tcbSigning],
    ] as const) {
        const chain = parseCertificates(Buffer.from(made[member] ?? ''), member)
        t.deepEqual(
            chain.map(({ subjectCn }) => subjectCn),
            [signer, NAMES.root],
        )
    }
    t.is(made['pck_crl'], lists.pck.toString('hex'))
})

for (const { name, changes, want } of [
    { name: 'version 4', changes: {}, want: { version: 4, bodyType: 2, signedSize: 632 } },
    { name: 'version 5, TDX 1.0', changes: { version: 5 }, want: { version: 5, bodyType: 2, signedSize: 638 } },
    { name: 'version 5, TDX 1.5', changes: { bodyType: 3 }, want: { version: 5, bodyType: 3, signedSize: 702 } },
    { name: 'version 5, extended', changes: { bodyType: 4 }, want: { version: 5, bodyType: 4, signedSize: 939 } },
] satisfies { name: string; changes: QuoteChanges; want: object }[])
    test(`a quote is signed all the way: ${name}`, (t) => {
        const raw = mintQuote({ keys, certificates }, changes)
        const quote = parseQuote(raw)
        t.like(quote, { ...want, size: raw.length })
        t.true(signedBy(keys.attestation, raw.subarray(0, quote.signedSize), quote.signature))
        t.true(signedBy(keys.pck, quote.qeReport, quote.qeReportSignature))
        const bound = createHash('sha256').update(quote.attestationKey).update(quote.authData).digest()
        t.deepEqual(QE_REPORT.parse(quote.qeReport).reportData, Buffer.concat([bound, Buffer.alloc(32)]))
        const chain = parseCertificates(quote.certification.data, 'chain').map(({ der }) => der)
        t.deepEqual(chain, [certificates.pck, certificates.platform, certificates.root])
    })

test('what is changed in a quote is signed; a key that it is told to name is not the one that signs', (t) => {
    const mrTd = Buffer.alloc(48, 0x77)
    const other = Buffer.alloc(64, 1)
    const raw = mintQuote({ keys, certificates }, { body: { mrTd }, qeReport: { isvSvn: 1 }, attestationKey: other })
    const quote = parseQuote(raw)
    t.deepEqual(quote.body.mrTd, mrTd)
    t.deepEqual(quote.attestationKey, other)
    t.is(QE_REPORT.parse(quote.qeReport).isvSvn, 1)
    t.true(signedBy(keys.pck, quote.qeReport, quote.qeReportSignature))
    t.true(signedBy(keys.attestation, raw.subarray(0, quote.signedSize), quote.signature))
})
