// The chain of a platform: real ones of Naples and Rome, and what is wrong with others.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import test from 'ava'
import { Checks } from '#core/checks.ts'
import { AttestError } from '#core/errors.ts'
import { isIssuedBy, parseAmdCertificate } from '#plugins/sev/chain/amd-certs.ts'
import { CERT_SIZE, makeCertificate, parseCertificate } from '#plugins/sev/chain/certs.ts'
import { CHAIN_CHECKS, type ChainTrust, readChain, verifyChain } from '#plugins/sev/chain/chain.ts'
import type { PlatformCertificates } from '#plugins/sev/mint.ts'
import { AMD_KEYS, amdKey } from '#plugins/sev/roots.ts'
import { vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { fixture } from './manifest.ts'
import { flipped, minted } from './minted.ts'

const possible = needs(vectors('sev/fixtures/sev-certs'))
const LINES = ['naples', 'rome', 'milan', 'genoa', 'turin'] as const
const CHAINS = ['naples', 'rome'] as const

const cert = (line: string, name: string): Buffer => fixture(`fixtures/sev-certs/${line}/${name}.cert`)

function verify(files: readonly Buffer[], trust: ChainTrust = {}) {
    const named = files.map((bytes, at) => ({ name: `file ${at}`, bytes }))
    return verifyChain(readChain(named), trust, new Checks(CHAIN_CHECKS))
}

const ours = await minted()
const other = await minted()

function chainOf({ pdh, pek, oca, cek, ask, ark }: PlatformCertificates): Buffer[] {
    return [pdh, Buffer.concat([pek, oca, cek]), Buffer.concat([ask, ark])]
}

const trusting = ({ ark }: PlatformCertificates): ChainTrust => ({ roots: [parseAmdCertificate(ark)] })

for (const line of LINES)
    possible(`AMD’s keys: ${line}, as their certificates have them`, (t) => {
        const root = parseAmdCertificate(cert(line, 'ark'))
        for (const [role, certificate] of [
            ['ARK', root],
            ['ASK', parseAmdCertificate(cert(line, 'ask'))],
        ] as const) {
            const row = AMD_KEYS.find((one) => one.role === role && one.line.toLowerCase() === line)
            t.truthy(row)
            if (!row) continue
            t.is(certificate.usage, role)
            t.is(certificate.keyId, row.keyId)
            t.true(certificate.publicKey.equals(amdKey(row)))
            t.is(hash('sha256', certificate.body), row.sha256)
            t.true(isIssuedBy(certificate, root.publicKey))
        }
    })

for (const line of CHAINS) {
    const files = () => [cert(line, 'pdh'), Buffer.concat(['pek', 'oca', 'cek'].map((name) => cert(line, name)))]
    possible(`a real platform: ${line}`, (t) => {
        for (const more of [[], [cert(line, 'ask')], [cert(line, 'ask'), cert(line, 'ark')]])
            t.is(verify([...files(), ...more]).productLine?.toLowerCase(), line)
        t.true(verify(files()).pdh?.equals(parseCertificate(cert(line, 'pdh')).publicKey))
        t.is(verify(files().slice(1)).pdh, null)
        t.is(verify(files(), { owner: parseCertificate(cert(line, 'oca')) }).productLine?.toLowerCase(), line)
        t.throws(() => verify(files(), { owner: parseCertificate(ours.certificates.oca) }), { code: 'ERR_SEV_OWNER' })
        t.throws(() => verify(files(), trusting(ours.certificates)), { code: 'ERR_SEV_CERTIFICATE' })
    })

    possible(`a real platform: ${line}, single bits`, (t) => {
        const whole = ['pdh', 'pek', 'oca', 'cek', 'ask', 'ark'].map((name) => cert(line, name))
        for (const [at, one] of whole.entries())
            for (let i = 0; i < 40; i++) {
                // The part that is signed.
                const signed = one.length === CERT_SIZE ? 0x414 : one.length
                const bit = Math.floor((i * signed * 8) / 40) + (i % 8)
                const broken = whole.map((bytes, which) => (which === at ? flipped(bytes, bit) : bytes))
                const error = t.throws(() => verify(broken), { instanceOf: AttestError }, `file ${at}, bit ${bit}`)
                t.is(error?.exit, 1)
            }
    })
}

possible('what AMD published for Naples has no signature: refused, with what to do', (t) => {
    const bad = t.throws(() => verify([fixture('fixtures/sev-certs/naples/ark.cert.bad')]), {
        code: 'ERR_SEV_CERTIFICATE',
        instanceOf: AttestError,
    })
    t.regex(bad?.hint ?? '', /leave the file out/)
    const whole = Buffer.concat([
        fixture('fixtures/sev-certs/naples/ark.cert.bad'),
        fixture('fixtures/sev-certs/naples/ark.cert.sig'),
    ])
    t.is(parseAmdCertificate(whole).keyId, '1bb987c359494606b174945601c9ea5b')
})

test('a minted platform: under its own root, and under no other', (t) => {
    const files = chainOf(ours.certificates)
    const platform = verify(files, trusting(ours.certificates))
    t.is(platform.productLine, null)
    t.true(platform.pdh?.equals(parseCertificate(ours.certificates.pdh).publicKey))
    t.not(platform.fingerprint, verify(chainOf(other.certificates), trusting(other.certificates)).fingerprint)
    t.throws(() => verify(files), { code: 'ERR_SEV_ROOT' })
    t.throws(() => verify(files, trusting(other.certificates)), { code: 'ERR_SEV_ROOT' })
    const { pdh, pek, oca, cek, ask, unsignedCek } = ours.certificates
    t.throws(() => verify([pdh, pek, oca, cek]), { code: 'ERR_SEV_CHAIN' })
    t.throws(() => verify([pdh, pek, oca, cek, ask]), { code: 'ERR_SEV_CHAIN' })
    t.is(verify([unsignedCek, pdh, pek, oca, cek, ask], trusting(ours.certificates)).chip, platform.chip)
})

type Swap = (own: PlatformCertificates, stranger: PlatformCertificates) => readonly Buffer[]

for (const { name, code, swap } of [
    { name: 'CEK without signature', code: 'ERR_SEV_CEK_UNSIGNED', swap: (own) => [own.unsignedCek] },
    { name: 'CEK of another chip', code: 'ERR_SEV_CHAIN', swap: (_, { cek }) => [cek] },
    { name: 'PEK of another chip', code: 'ERR_SEV_CHAIN', swap: (_, { pek }) => [pek] },
    { name: 'OCA of somebody else', code: 'ERR_SEV_CHAIN', swap: (_, { oca }) => [oca] },
    { name: 'PDH of another platform', code: 'ERR_SEV_CHAIN', swap: (_, { pdh }) => [pdh] },
    {
        name: 'OCA that nobody signed',
        code: 'ERR_SEV_CHAIN',
        swap: () => [makeCertificate({ usage: 'OCA', algorithm: 'ECDSA_SHA256', publicKey: key('oca') }, [])],
    },
    {
        name: 'PEK that its owner alone signed',
        code: 'ERR_SEV_CHAIN',
        swap: () => [signed('PEK', 'pek', 'ECDSA_SHA256', 'OCA', 'oca')],
    },
    {
        name: 'PEK that CEK alone signed',
        code: 'ERR_SEV_CHAIN',
        swap: () => [signed('PEK', 'pek', 'ECDSA_SHA256', 'CEK', 'cek')],
    },
    {
        name: 'PDH that PEK signed as OCA',
        code: 'ERR_SEV_CHAIN',
        swap: () => [signed('PDH', 'pdh', 'ECDH_SHA256', 'OCA', 'pek')],
    },
    {
        name: 'PDH that is a key for signatures',
        code: 'ERR_SEV_CERTIFICATE',
        swap: () => [signed('PDH', 'pdh', 'ECDSA_SHA256', 'PEK', 'pek')],
    },
    {
        name: 'PEK that is a key for agreements',
        code: 'ERR_SEV_CERTIFICATE',
        swap: () => [signed('PEK', 'pek', 'ECDH_SHA256', 'OCA', 'oca')],
    },
] as readonly { name: string; code: string; swap: Swap }[])
    test(`refused: ${name}`, (t) => {
        const own = ours.certificates
        const swapped = swap(own, other.certificates).map((bytes) => parseCertificate(bytes))
        const usages = swapped.map(({ usage }) => usage)
        const rest = (['pdh', 'pek', 'oca', 'cek'] as const)
            .filter((usage) => !usages.includes(usage.toUpperCase() as 'PDH'))
            .map((usage) => own[usage])
        const files = [...rest, ...swapped.map(({ bytes }) => bytes), own.ask, own.ark]
        t.throws(() => verify(files, trusting(own)), { code })
    })

for (const { name, files, says } of [
    { name: 'nothing', files: [Buffer.alloc(0)], says: /is empty/ },
    { name: 'zeros', files: [Buffer.alloc(CERT_SIZE)], says: /file 0 is no certificate of SEV/ },
    { name: 'half a PEK', files: [ours.certificates.pek.subarray(0, 2083)], says: /PEK has 2083 bytes, expected 2084/ },
    { name: 'a rest', files: [Buffer.concat([ours.certificates.pek, Buffer.alloc(7)])], says: /stands at byte 2084/ },
    {
        name: 'no PEK',
        files: [ours.certificates.cek, ours.certificates.ask, ours.certificates.oca],
        says: /PEK is missing/,
    },
    { name: 'no CEK', files: [ours.certificates.pek, ours.certificates.ask], says: /CEK is missing/ },
    { name: 'two PEKs', files: [ours.certificates.pek, other.certificates.pek], says: /a second PEK, of another key/ },
    { name: 'two ASKs', files: [ours.certificates.ask, other.certificates.ask], says: /a second ASK, of another key/ },
    { name: 'too many', files: [Buffer.concat(Array(17).fill(ours.certificates.pek))], says: /more than 16/ },
    { name: 'a curve that is none', files: [put(ours.certificates.pek, 0x10, 3)], says: /the curve 3 is not known/ },
    { name: 'a key that is none', files: [put(ours.certificates.pek, 0x14, 1)], says: /the public key is none/ },
    { name: 'behind the key', files: [put(ours.certificates.pek, 0x200, 1)], says: /behind the public key/ },
    { name: 'another version', files: [put(ours.certificates.ask, 0, 2)], says: /file 0 is no certificate of SEV/ },
    { name: 'an exponent of 1', files: [put(put(ours.certificates.ask, 64, 1), 66, 0)], says: /exponent is not 65537/ },
    { name: 'an even modulus', files: [put(ours.certificates.ask, 64 + 512, 0)], says: /the modulus is none/ },
])
    test(`malformed: ${name}`, (t) => {
        const error = t.throws(() => verify(files, trusting(ours.certificates)), { instanceOf: AttestError })
        t.is(error?.code, 'ERR_SEV_CERTIFICATE')
        t.regex(error?.message ?? '', says)
    })

function key(name: keyof typeof ours.keys) {
    return parseCertificate(ours.certificates[name as 'pek']).publicKey
}

function signed(
    usage: 'PEK' | 'PDH',
    subject: 'pek' | 'pdh',
    algorithm: 'ECDSA_SHA256' | 'ECDH_SHA256',
    signer: 'OCA' | 'CEK' | 'PEK',
    by: 'oca' | 'cek' | 'pek',
): Buffer {
    const template = { usage, algorithm, publicKey: key(subject) }
    return makeCertificate(template, [{ usage: signer, algorithm: 'ECDSA_SHA256', privateKey: ours.keys[by] }])
}

function put(bytes: Buffer, at: number, value: number): Buffer {
    const copy = Buffer.from(bytes)
    copy[at] = value
    return copy
}
