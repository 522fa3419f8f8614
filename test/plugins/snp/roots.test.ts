// The built-in keys: what one row of figures says of itself, the rows of each other, and AMD's certificates of all.
// SPDX-License-Identifier: Apache-2.0

import { createHash, createPublicKey } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseCertificates } from '#core/x509.ts'
import { VENDOR_KEYS, type VendorKey } from '#plugins/snp/roots.ts'
import { PRODUCT_LINE_NAMES } from '#plugins/snp/tcb.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'

const ROLES = {
    ARK: { prefix: 'ARK-' },
    ASK: { prefix: 'SEV-' },
    ASVK: { prefix: 'SEV-VLEK-' },
} as const satisfies Record<VendorKey['role'], unknown>

const keyOf = (n: string) => createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })

test('each line has its three keys, once', (t) => {
    const wanted = PRODUCT_LINE_NAMES.flatMap((line) => Object.keys(ROLES).map((role) => `${line} ${role}`))
    t.deepEqual(VENDOR_KEYS.map(({ line, role }) => `${line} ${role}`).toSorted(), wanted.toSorted())
    for (const member of ['cn', 'serial', 'sha256', 'n'] as const)
        t.is(new Set(VENDOR_KEYS.map((row) => row[member])).size, VENDOR_KEYS.length, member)
})

for (const row of VENDOR_KEYS)
    test(`${row.cn}: its figures`, (t) => {
        const { line, role, cn, serial, notBefore, notAfter, sha256, n } = row
        t.is(cn, `${ROLES[role].prefix}${line}`)
        t.regex(serial, /^[1-9a-f][0-9a-f]*$/, 'as a revocation list is read')
        t.regex(sha256, /^[0-9a-f]{64}$/)
        const modulus = Buffer.from(n, 'base64url')
        t.is(modulus.toString('base64url'), n, 'nothing that base64url passes over')
        t.is(modulus.length, 512)
        t.true((modulus.readUInt8(0) & 0x80) !== 0 && (modulus.readUInt8(511) & 1) === 1)
        t.like(keyOf(n).asymmetricKeyDetails, { modulusLength: 4096, publicExponent: 65537n })
        const [from, to] = [new Date(notBefore), new Date(notAfter)]
        t.deepEqual([from.toISOString(), to.toISOString()], [notBefore, notAfter])
        from.setUTCFullYear(from.getUTCFullYear() + 25)
        t.deepEqual(to, from, 'AMD gives each of them 25 years')
        const root = VENDOR_KEYS.find((other) => other.line === line && other.role === 'ARK')
        t.true(root !== undefined && root.notBefore <= notBefore, 'none is older than its root')
    })

const FOLDER = 'snp-tdx/snp-roots'

needs(vectors(FOLDER))("AMD's certificates say the same of every row, and each is signed by its line's root", (t) => {
    const folder = join(VECTORS, FOLDER)
    const certificates = readdirSync(folder).flatMap((name) =>
        parseCertificates(readFileSync(join(folder, name)), name),
    )
    for (const row of VENDOR_KEYS) {
        const found = certificates.find(({ subjectCn }) => subjectCn === row.cn)
        if (!found) return t.fail(`no certificate of ${row.cn}`)
        const { der, serial, notBefore, notAfter, issuerCn, x509 } = found
        t.is(createHash('sha256').update(der).digest('hex'), row.sha256, row.cn)
        t.is(serial, row.serial, row.cn)
        t.deepEqual([notBefore.toISOString(), notAfter.toISOString()], [row.notBefore, row.notAfter], row.cn)
        t.deepEqual(x509.publicKey.export({ format: 'jwk' }), { kty: 'RSA', n: row.n, e: 'AQAB' }, row.cn)
        const root = VENDOR_KEYS.find(({ cn }) => cn === issuerCn)
        t.is(issuerCn, `ARK-${row.line}`)
        t.true(root !== undefined && x509.verify(keyOf(root.n)), row.cn)
    }
})
