// Collateral: which files of a folder are read, in which order, and how certificates are told from lists.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { certificatePem } from '#core/mint.ts'
import { readableCollateral, readCollateral } from '#evidence/collateral.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { temporaryFolder } from '#test/folder.ts'
import { vendor } from '../plugins/snp/minted.ts'

const { certificates, list } = await vendor('genoa', await generateVendorKeys())
const pemList = `-----BEGIN X509 CRL-----\n${list.toString('base64')}\n-----END X509 CRL-----\n`
const pem = certificatePem(certificates.ask)

test('nothing named is nothing read', (t) =>
    t.deepEqual(readCollateral(undefined), { certificates: [], revocationLists: [], statements: [] }))

test('a folder: by the order of names, told apart by what is in them, other files left alone', (t) => {
    const folder = temporaryFolder(t)
    const files = {
        'b.pem': pem,
        'a.der': certificates.vcek,
        'c.CRT': certificates.ark,
        'list.der': list,
        'list.pem': pemList,
        'list.crl': list.toString('hex'),
        'README.md': 'not a certificate',
        'note.txt': pem,
        pem: pem,
    }
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
    mkdirSync(join(folder, 'deeper'))
    writeFileSync(join(folder, 'deeper/d.pem'), pem)
    const read = readCollateral(folder)
    const names = (of: readonly { readonly name: string }[]) => of.map(({ name }) => name.slice(folder.length + 1))
    t.deepEqual(names(read.certificates), ['a.der', 'b.pem', 'c.CRT'])
    t.deepEqual(names(read.revocationLists), ['list.crl', 'list.der', 'list.pem'])
    t.true(read.certificates[0]?.bytes.equals(certificates.vcek))
})

test('a statement is told by its first character that is no white space, however far that is', (t) => {
    const path = join(temporaryFolder(t), 'spaced.json')
    writeFileSync(path, `${' \t\r\n'.repeat(1000)}{}`)
    t.is(readCollateral(path).statements.length, 1)
})

test('a certificate with a comment that begins a list is refused, as one that is cut', (t) => {
    const path = join(temporaryFolder(t), 'commented.pem')
    writeFileSync(path, `# -----BEGIN X509 CRL-----\n${pem}`)
    t.throws(() => readCollateral(path), { code: 'ERR_EVIDENCE_TRUST', message: /X509 CRL without its end/ })
})

test('what can be read of a folder, for whoever replaces the rest', (t) => {
    const folder = temporaryFolder(t)
    for (const [name, bytes] of Object.entries({ 'a.pem': pem, 'b.crl': 'no list', 'c.crl': list, 'd.json': '' }))
        writeFileSync(join(folder, name), bytes)
    symlinkSync('/nowhere', join(folder, 'e.pem'))
    const { certificates: read, revocationLists, statements } = readableCollateral(folder)
    t.deepEqual([read.length, revocationLists.length, statements.length], [1, 1, 0])
    t.throws(() => readCollateral(folder), { code: 'ERR_NOT_FOUND_FILE' })
})

for (const { name, bytes, lists } of [
    { name: 'a certificate, whatever its name', bytes: certificates.ask, lists: 0 },
    { name: 'certificates in a row', bytes: pem + pem, lists: 0 },
    { name: 'a revocation list, whatever its name', bytes: list, lists: 1 },
])
    test(`one file: ${name}`, (t) => {
        const path = join(temporaryFolder(t), 'collateral.bin')
        writeFileSync(path, bytes)
        const read = readCollateral(path)
        t.deepEqual([read.certificates.length, read.revocationLists.length], [1 - lists, lists])
    })

for (const { name, path = 'at', make, code, says } of [
    { name: 'nothing there', make: () => undefined, code: 'ERR_NOT_FOUND_FILE', says: /at: no such file or folder/ },
    {
        name: 'a file in the place of its folder',
        path: 'at/x',
        make: (at) => writeFileSync(at, ''),
        code: 'ERR_FILE_KIND',
        says: /x: a file stands where a folder was expected/,
    },
    {
        name: 'an empty file',
        make: (at) => writeFileSync(at, ''),
        code: 'ERR_EVIDENCE_TRUST',
        says: /at: an empty file; expected/,
    },
    {
        name: 'a text',
        make: (at) => writeFileSync(at, 'hello'),
        code: 'ERR_EVIDENCE_TRUST',
        says: /at: malformed; expected a certificate or a revocation list, as PEM or DER/,
    },
    {
        name: 'a file of 2 MiB',
        make: (at) => writeFileSync(at, Buffer.alloc(2 << 20)),
        code: 'ERR_LENGTH',
        says: /at: larger/,
    },
    {
        name: 'one bad file of a folder, by its name',
        make(at) {
            mkdirSync(at)
            writeFileSync(join(at, 'a.pem'), pem)
            writeFileSync(join(at, 'b.der'), Buffer.of(0x30, 0x82))
        },
        code: 'ERR_EVIDENCE_TRUST',
        says: /at\/b\.der: malformed/,
    },
    {
        name: 'a link to nothing',
        make(at) {
            mkdirSync(at)
            symlinkSync('/nowhere', join(at, 'a.pem'))
        },
        code: 'ERR_NOT_FOUND_FILE',
        says: /at\/a\.pem: no such file/,
    },
    {
        name: 'a folder named as a file',
        make: (at) => mkdirSync(join(at, 'a.pem'), { recursive: true }),
        code: 'ERR_FILE_KIND',
        says: /is a folder/,
    },
] as { name: string; path?: string; make: (at: string) => void; code: string; says: RegExp }[])
    test(`refused: ${name}`, (t) => {
        const folder = temporaryFolder(t)
        make(join(folder, 'at'))
        t.throws(() => readCollateral(join(folder, path)), { code, message: says })
    })
