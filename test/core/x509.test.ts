// Certificates and revocation lists: malformed ones are refused with a code, whatever the bytes; real lists are read.
// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AttestError } from '#core/errors.ts'
import { certificatePem, mintCertificate, mintRevocationList, type NameParts } from '#core/mint.ts'
import {
    derInteger,
    derOctets,
    derText,
    isRevocationList,
    parseCertificate,
    parseCertificates,
    parseRevocationList,
} from '#core/x509.ts'
import { temporaryFolder } from '../folder.ts'
import { programs, VECTORS, vectors } from '../machine.ts'
import { needs } from '../needs.ts'

const keys = generateKeyPairSync('rsa', { modulusLength: 2048 })
const name: NameParts = [
    ['C', 'US'],
    ['CN', 'ARK-Test'],
]
const signer = { name, privateKey: keys.privateKey, signature: 'rsaPss384' } as const
const [from, to] = [new Date('2026-01-01T00:00:00Z'), new Date('2060-01-01T00:00:00Z')]
const certificate = await mintCertificate(
    {
        subject: name,
        publicKey: keys.publicKey,
        serial: '0a',
        notBefore: from,
        notAfter: to,
        extensions: (x) => [new x.Extension('1.2.3.4', false, Buffer.from('0203010001', 'hex'))],
    },
    signer,
)
const list = await mintRevocationList({ thisUpdate: from, nextUpdate: to, revoked: ['0b', '0c01'], number: 1 }, signer)

test('a certificate: names, serial, dates of both centuries, extensions', (t) => {
    const { subjectCn, issuerCn, serial, notBefore, notAfter, extensions } = parseCertificate(certificate, 'c')
    t.deepEqual([subjectCn, issuerCn, serial], ['ARK-Test', 'ARK-Test', 'a'])
    t.deepEqual([notBefore, notAfter], [from, to])
    t.is(derInteger(extensions.get('1.2.3.4') ?? Buffer.alloc(0), 'x'), 65537)
})

test('a list: issuer, dates, serials, signature; in DER, PEM and hex', (t) => {
    const pem = `-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`
    for (const form of [list, Buffer.from(pem), Buffer.from(list.toString('hex'))]) {
        const { issuerCn, thisUpdate, nextUpdate, revoked, verify } = parseRevocationList(form, 'l')
        t.deepEqual([issuerCn, thisUpdate, nextUpdate, [...revoked]], ['ARK-Test', from, to, ['b', 'c01']])
        t.true(verify(keys.publicKey))
        t.true(isRevocationList(form, 'l'))
    }
    t.false(isRevocationList(certificate, 'c'))
    t.false(isRevocationList(Buffer.from(certificatePem(certificate)), 'c'))
})

test('a list of thousands is read', async (t) => {
    const revoked = Array.from({ length: 3000 }, (_, i) => (0x1000 + i).toString(16))
    const long = await mintRevocationList({ thisUpdate: from, nextUpdate: to, revoked, number: 1 }, signer)
    t.deepEqual([...parseRevocationList(long, 'list').revoked], revoked)
})

test('a list names its issuer as the certificate names its subject, and has a number', (t) => {
    const parsed = parseRevocationList(list, 'list')
    t.deepEqual(parsed.issuerName, parseCertificate(certificate, 'certificate').subjectName)
    t.regex(parsed.number ?? '', /^\d+$/)
})

for (const [oid, what] of [
    ['2.5.29.27', 'changes against another list'],
    ['2.5.29.28', 'a list of some certificates'],
] as const)
    test(`a list that is none of all certificates is refused: ${what}`, async (t) => {
        await import('reflect-metadata')
        const x = await import('@peculiar/x509')
        const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
        const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
        const narrow = await x.X509CrlGenerator.create({
            issuer: 'CN=x',
            thisUpdate: from,
            nextUpdate: to,
            extensions: [new x.Extension(oid, true, Buffer.from('020101', 'hex'))],
            signingKey: privateKey.toCryptoKey(algorithm, false, ['sign']) as CryptoKey,
            signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
        })
        t.throws(() => parseRevocationList(Buffer.from(narrow.rawData), 'list'), {
            code: 'ERR_CERTIFICATE',
            message: `list: ${what}, not a whole list`,
        })
    })

for (const { what, parse } of [
    {
        what: 'bytes behind a certificate',
        parse: () => parseCertificate(Buffer.concat([certificate, Buffer.alloc(1)]), 'x'),
    },
    { what: 'a certificate that is cut', parse: () => parseCertificate(certificate.subarray(0, -1), 'x') },
    { what: 'nothing', parse: () => parseCertificates(Buffer.alloc(0), 'x') },
    {
        what: 'a PEM of another kind',
        parse: () =>
            parseCertificates(Buffer.from('-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----'), 'x'),
    },
    {
        what: 'two lists in one file',
        parse: () =>
            parseRevocationList(
                Buffer.from(`-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`.repeat(2)),
                'x',
            ),
    },
    { what: 'a certificate in the place of a list', parse: () => parseRevocationList(certificate, 'x') },
    { what: 'an INTEGER without bytes', parse: () => derInteger(Buffer.from('0200', 'hex'), 'x') },
    { what: 'an INTEGER of seven bytes', parse: () => derInteger(Buffer.from('020701000000000000', 'hex'), 'x') },
    { what: 'text in the place of an INTEGER', parse: () => derInteger(Buffer.from('160141', 'hex'), 'x') },
    { what: 'an INTEGER in the place of text', parse: () => derText(Buffer.from('020101', 'hex'), 'x') },
    { what: 'a text with a control character', parse: () => derText(Buffer.from('16011b', 'hex'), 'x') },
    { what: 'an INTEGER in the place of an OCTET STRING', parse: () => derOctets(Buffer.from('020101', 'hex'), 'x') },
])
    test(`refused: ${what}`, (t) => void t.throws(parse, { code: 'ERR_CERTIFICATE' }))

// The first two take hours where each beginning is followed to the end of the text; ava gives up long before.
for (const { what, text } of [
    { what: 'beginnings of one kind without an end', text: '-----BEGIN A-----'.repeat(1 << 19) },
    {
        what: 'beginnings of many kinds',
        text: Array.from({ length: 1 << 19 }, (_, i) => `-----BEGIN ${i}-----`).join(''),
    },
    { what: 'beginnings without a kind', text: '-----BEGIN '.repeat(1 << 20) },
    { what: 'blocks without number', text: '-----BEGIN A-----\n-----END A-----\n'.repeat(1 << 18) },
])
    test(`a PEM text of megabytes is refused at once: ${what}`, (t) => {
        for (const parse of [parseCertificates, parseRevocationList])
            t.throws(() => parse(Buffer.from(text), 'x'), { code: 'ERR_CERTIFICATE' })
    })

test('a PEM block that was cut off is no certificate less', (t) => {
    const pem = certificatePem(certificate)
    t.is(parseCertificates(Buffer.from(`text before\n${pem}${pem}`), 'x').length, 2)
    t.throws(() => parseCertificates(Buffer.from(pem + pem.slice(0, -30)), 'x'), {
        code: 'ERR_CERTIFICATE',
        message: 'x: a CERTIFICATE without its end in this PEM text',
    })
})

test('5 000 mutated certificates and lists: an error says what is wrong, or it is read', (t) => {
    for (let i = 0; i < 5000; i++) {
        const source = i % 2 === 0 ? certificate : list
        const bytes = Buffer.from(source)
        for (let n = 0; n <= i % 4; n++)
            bytes[randomBytes(4).readUInt32LE() % bytes.length] = randomBytes(1).readUInt8()
        try {
            if (i % 2 === 0) t.true(parseCertificate(bytes, 'x').extensions.size >= 0)
            else t.true(parseRevocationList(bytes, 'x').revoked.size >= 0)
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
        }
    }
})

const REAL_LIST = 'snp-tdx/tdx/attestation-rs--collateral-pck_crl_platform.der'

const work = temporaryFolder({ teardown: test.after.always })

/** A list that OpenSSL signs with a key of its own. */
function opensslList(key: KeyObject, name: string, signing: readonly string[]): Buffer {
    const at = (file: string): string => join(work, `${name}-${file}`)
    const run = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'pipe' })
    writeFileSync(at('key'), key.export({ type: 'pkcs8', format: 'pem' }))
    writeFileSync(at('index'), '')
    writeFileSync(at('conf'), `[ca]\ndefault_ca = d\n[d]\ndatabase = ${at('index')}\ndefault_crl_days = 9\n`)
    run('req', '-x509', '-new', '-key', at('key'), '-subj', '/CN=test', '-days', '9', '-out', at('crt'))
    run(
        'ca',
        '-gencrl',
        '-config',
        at('conf'),
        '-keyfile',
        at('key'),
        '-cert',
        at('crt'),
        '-out',
        at('crl'),
        ...signing,
    )
    return readFileSync(at('crl'))
}

const pss = (md: string, salt: number): string[] => [
    ...['-md', md, '-sigopt', 'rsa_padding_mode:pss', '-sigopt', `rsa_pss_saltlen:${salt}`],
    ...['-sigopt', `rsa_mgf1_md:${md}`],
]
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed25519 = generateKeyPairSync('ed25519')
const others = [keys, p256, p384, ed25519]

for (const { what, by, signing, want } of [
    { what: 'RSASSA-PSS, SHA-384, a salt of 48', by: keys, signing: pss('sha384', 48), want: true },
    { what: 'RSASSA-PSS, a salt of 32', by: keys, signing: pss('sha384', 32), want: false },
    { what: 'RSASSA-PSS, SHA-256', by: keys, signing: pss('sha256', 48), want: false },
    {
        what: 'RSASSA-PSS, a mask of another hash',
        by: keys,
        signing: [...pss('sha384', 48), '-sigopt', 'rsa_mgf1_md:sha256'],
        want: false,
    },
    { what: 'RSA of PKCS #1 v1.5', by: keys, signing: ['-md', 'sha384'], want: false },
    { what: 'ECDSA, P-256, SHA-256', by: p256, signing: ['-md', 'sha256'], want: true },
    { what: 'ECDSA, P-384, SHA-384', by: p384, signing: ['-md', 'sha384'], want: true },
    { what: 'ECDSA, P-384, SHA-256', by: p384, signing: ['-md', 'sha256'], want: false },
    { what: 'ECDSA, P-256, SHA-384', by: p256, signing: ['-md', 'sha384'], want: false },
    { what: 'ECDSA, SHA-512', by: p384, signing: ['-md', 'sha512'], want: false },
])
    needs(programs('openssl'))(`a list by ${what}: ${want ? 'verifies' : 'does not'}, and with no other key`, (t) => {
        const made = parseRevocationList(opensslList(by.privateKey, what.replaceAll(/\W/g, ''), signing), 'l')
        t.is(made.verify(by.publicKey), want)
        for (const other of others.filter((one) => one !== by)) t.false(made.verify(other.publicKey))
        const { publicKey } = generateKeyPairSync('ec', { namedCurve: by === p256 ? 'P-256' : 'P-384' })
        t.false(made.verify(publicKey))
    })

needs(vectors(REAL_LIST))('real lists of another vendor are read', (t) => {
    const file = join(VECTORS, REAL_LIST)
    const { issuerCn, revoked, nextUpdate } = parseRevocationList(readFileSync(file), 'l')
    t.is(issuerCn, 'Intel SGX PCK Platform CA')
    t.true(revoked.size > 10)
    t.truthy(nextUpdate)
})
