// Files that are named on the command line: what is of another kind, is not there, may not be written or holds something
// else is a mistake of whoever typed it, said in the same words everywhere, before anything is judged or made.
// SPDX-License-Identifier: Apache-2.0

import { createPublicKey } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { certificatePem, mintCertificate } from '#core/mint.ts'
import { temporaryFolder } from '#test/folder.ts'
import { report, vendor } from '#test/plugins/snp/minted.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { guestAttest, MAIN, run } from './run.ts'

const after: (() => unknown)[] = []
const folder = temporaryFolder({ teardown: (end) => after.push(end) })

const file = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content, { mode: 0o644 })
    return join(folder, name)
}

const genoa = await vendor('genoa')
const { certificates, keys } = genoa
const EMPTY = file('empty', '')
const GARBAGE = file('garbage', 'hello')
const VCEK = file('vcek.pem', certificatePem(certificates.vcek))
const EVIDENCE = file('report.bin', report(genoa))
const STRANGER = file(
    'stranger.pem',
    certificatePem(
        await mintCertificate(
            {
                subject: [['CN', 'somebody else']],
                publicKey: createPublicKey(keys.vcek),
                notBefore: new Date(0),
                notAfter: new Date(2e12),
                extensions: () => [],
            },
            { name: [['CN', 'somebody else']], privateKey: keys.vcek, signature: 'ecdsaP384' },
        ),
    ),
)
const DATA = join(folder, 'data')
test.after.always(() => after.map((end) => end()))

const CERTIFICATE = /expected a certificate, as PEM or DER \(ERR_EVIDENCE_TRUST\)/
const EITHER = /expected a certificate or a revocation list, as PEM or DER \(ERR_EVIDENCE_TRUST\)/
const NO_ROOT = /is no root that may vouch \(ERR_EVIDENCE_TRUST\)\n {2}hint: expected: a root key of SEV-SNP/
const A_FOLDER = /is a folder, a file was expected \(ERR_FILE_KIND\)/
const A_FILE = /a file stands where a folder was expected \(ERR_/

for (const command of [
    ['verify', EVIDENCE],
    ['policy', 'init', '--from', EVIDENCE],
    ['broker', 'serve', '--data', DATA, '--listen', '127.0.0.1:0'],
])
    for (const { option, path, says } of [
        { option: '--trust-root', path: GARBAGE, says: CERTIFICATE },
        { option: '--trust-root', path: EMPTY, says: CERTIFICATE },
        { option: '--trust-root', path: VCEK, says: NO_ROOT },
        { option: '--trust-root', path: STRANGER, says: NO_ROOT },
        { option: '--trust-root', path: folder, says: A_FOLDER },
        { option: '--trust-root', path: '/nowhere', says: /no such file/ },
        { option: '--certs', path: GARBAGE, says: CERTIFICATE },
        { option: '--certs', path: EMPTY, says: CERTIFICATE },
        { option: '--collateral', path: GARBAGE, says: EITHER },
        { option: '--collateral', path: EMPTY, says: EITHER },
        { option: '--collateral', path: '/nowhere', says: /no such file or folder/ },
        { option: '--collateral', path: join(EMPTY, 'x'), says: A_FILE },
    ].filter(({ option }) => option !== '--certs' || !command.includes('serve')))
        test.serial(`usage: ${command[0]} ${option} ${path.replace(folder, 'folder')}`, async (t) => {
            const { code, stdout, stderr } = await guestAttest([...command, option, path])
            t.is(code, 2, stderr)
            t.is(stdout, '', 'nothing was judged')
            t.true(stderr.includes(path), 'the file is named')
            t.regex(stderr, says)
            if (option === '--trust-root') t.false(existsSync(DATA), 'nothing was made')
        })

for (const { name, args, says } of [
    { name: 'data that are a file', args: ['broker', 'serve', '--data', EMPTY], says: A_FILE },
    { name: 'data below a file', args: ['broker', 'serve', '--data', join(EMPTY, 'x')], says: A_FILE },
    {
        name: 'a vendor that is a file',
        args: ['emulate', '--tee', 'snp', '--trust-dir', EMPTY, '--', 'true'],
        says: A_FILE,
    },
    { name: 'evidence that is a folder', args: ['verify', folder], says: A_FOLDER },
    { name: 'evidence below a file', args: ['inspect', join(EMPTY, 'x')], says: A_FILE },
    { name: 'a policy that is a folder', args: ['verify', EVIDENCE, '--policy', folder], says: A_FOLDER },
    { name: 'a disk below a file', args: ['luks', 'check', join(EMPTY, 'x')], says: A_FILE },
])
    test(`exit 2: ${name}`, async (t) => {
        const { code, stderr } = await guestAttest(args)
        t.is(code, 2, stderr)
        t.regex(stderr, says)
        t.notRegex(stderr, /internal error|E[A-Z]+:/)
    })

const PIN = `sha256/${'A'.repeat(43)}=`
const AS_NOBODY = ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, MAIN]

for (const { name, args, says } of [
    {
        name: 'trust add',
        args: ['trust', 'add', 'https://kbs.example', '--pin', PIN, '--allow-path', 'a/b/c'],
        says: /trust\.d: EACCES: permission denied \(ERR_FILE\)\n {2}hint: run this as root, or as a user who may/,
    },
    {
        name: 'broker serve',
        args: ['broker', 'serve', '--data', join(folder, 'closed/data')],
        says: /closed\/data: EACCES: permission denied \(ERR_FILE\)\n {2}hint: name another folder with --data, or run as/,
    },
])
    needs(ROOT, programs('setpriv'))(`an ordinary user is told what to do: ${name}`, async (t) => {
        for (const part of ['etc', 'closed']) mkdirSync(join(folder, part), { recursive: true })
        chmodSync(folder, 0o755)
        const { code, stderr } = await run('setpriv', [...AS_NOBODY, ...args], {
            env: { GUEST_ATTEST_CONFIG: join(folder, 'etc') },
        })
        t.is(code, 3, stderr)
        t.regex(stderr, says)
    })
