// `trust`: what is written for which words, what is refused before anything is written, and what a list says.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { certificatePem } from '#core/mint.ts'
import { generateVendorKeys } from '#plugins/snp/mint.ts'
import { temporaryFolder } from '#test/folder.ts'
import { vendor } from '#test/plugins/snp/minted.ts'
import { readAnchors } from '#unlock/anchors.ts'
import { ROOT } from '../machine.ts'
import { needs } from '../needs.ts'
import { guestAttest, MAIN, type Ran, run } from './run.ts'

const URL_ = 'https://kbs.example:8443'
const PIN = `sha256/${'A'.repeat(43)}=`
const PIN_2 = `sha256/${'B'.repeat(42)}A=`

const keys = await generateVendorKeys()
const { ark, ask } = (await vendor('genoa', keys)).certificates

/** A folder whose configuration is not there yet, and `trust` on it. */
function guestOf(t: ExecutionContext) {
    const folder = temporaryFolder(t)
    const config = join(folder, 'etc')
    const env = { GUEST_ATTEST_CONFIG: config }
    return {
        folder,
        config,
        trust: (...args: string[]): Promise<Ran> => guestAttest(['trust', ...args], { env }),
        files: (): string[] => (existsSync(join(config, 'trust.d')) ? readdirSync(join(config, 'trust.d')) : []),
    }
}

const add = ['add', URL_, '--pin', PIN, '--allow-path', 'default/luks/*']

test('add, list, replace, rm', async (t) => {
    const { config, trust, files } = guestOf(t)
    t.like(await trust('list'), { code: 0, stdout: 'no broker is trusted\n' })
    t.is((await trust('list', '--json')).stdout, '[]\n')

    const added = await trust(...add, '--pin', PIN_2, '--allow-path', 'web/tls/key')
    t.like(added, { code: 0, stdout: '' })
    t.regex(
        added.stderr,
        /^guest-attest: https:\/\/kbs\.example:8443 is trusted for default\/luks\/\*, web\/tls\/key\n/,
    )
    t.regex(added.stderr, /^ {2}hint: .*initrd/m)
    const file = join(config, 'trust.d/kbs.example_8443.toml')
    t.deepEqual(files(), ['kbs.example_8443.toml'])
    t.is(statSync(file).mode & 0o777, 0o644)
    t.like(readAnchors(config)[0], { trust: { pins: [PIN, PIN_2] }, allowPaths: ['default/luks/*', 'web/tls/key'] })

    const before = readFileSync(file, 'utf8')
    const again = await trust('add', 'https://KBS.example:8443/', '--pin', PIN_2, '--allow-path', 'a/b/c')
    t.is(again.code, 2)
    t.regex(again.stderr, /is trusted already \(.*kbs\.example_8443\.toml\)[\s\S]*hint: --replace/)
    t.is((await trust(...add, '--replace', '--pin', 'sha256/short')).code, 2)
    t.is(readFileSync(file, 'utf8'), before)
    t.is((await trust('add', URL_, '--pin', PIN_2, '--allow-path', 'a/b/c', '--replace')).code, 0)
    t.deepEqual(files(), ['kbs.example_8443.toml'])

    const listed = await trust('list')
    t.regex(
        listed.stdout,
        new RegExp(`^${URL_}\n {2}known by {2}${RegExp.escape(PIN_2)}\n {2}paths {5}a/b/c\n {2}file `),
    )
    t.regex(listed.stdout, /^ {2}initrd {4}\S/m)
    const [json] = JSON.parse((await trust('list', '--json')).stdout)
    t.like(json, { url: URL_, by: PIN_2, allowPaths: ['a/b/c'], file })
    t.deepEqual(Object.keys(json.initrd), ['known', 'text'])

    const other = await trust('rm', 'https://kbs.example')
    t.is(other.code, 2)
    t.regex(other.stderr, /no file says that https:\/\/kbs\.example is trusted[\s\S]*hint: .*trust list/)
    t.is((await trust('rm', `${URL_}/`)).code, 0)
    t.deepEqual(files(), [])
})

test('plain http on loopback, and what a strict umask does not change', async (t) => {
    const { config, trust } = guestOf(t)
    const script = `umask 077; exec ${process.execPath} ${MAIN} trust add http://127.0.0.1:81 --insecure-http --allow-path a/b/c`
    const ran = await run('sh', ['-c', script], { env: { GUEST_ATTEST_CONFIG: config } })
    t.is(ran.code, 0, ran.stderr)
    t.is(statSync(join(config, 'trust.d/127.0.0.1_81_http.toml')).mode & 0o777, 0o644)
    t.like(readAnchors(config)[0], { trust: null, allowPaths: ['a/b/c'] })
    t.regex((await trust('list')).stdout, /known by {2}nothing: plain http on loopback \(insecureHttp\)/)
    t.is((await trust('rm', 'http://127.0.0.1:81')).code, 0)
})

test('by a CA: its certificates alone are written, never a key beside them', async (t) => {
    const { folder, config, trust } = guestOf(t)
    const ca = join(folder, 'ca.pem')
    const key = String(keys.ark.export({ type: 'pkcs8', format: 'pem' }))
    writeFileSync(ca, `a note\n${certificatePem(ark)}${key}${certificatePem(ask)}`)
    const ran = await trust('add', URL_, '--ca', ca, '--allow-path', 'a/b/c')
    t.is(ran.code, 0, ran.stderr)
    t.deepEqual(readAnchors(config)[0]?.trust, { ca: `${certificatePem(ark)}${certificatePem(ask)}` })
    t.notRegex(readFileSync(join(config, 'trust.d/kbs.example_8443.toml'), 'utf8'), /PRIVATE|a note/)
    t.regex((await trust('list')).stdout, /known by {2}a CA\n/)
})

const MALFORMED_CA = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'

for (const { name, args, ca, says, hint } of [
    { name: 'no path', args: [URL_, '--pin', PIN], says: /--allow-path is missing/ },
    { name: 'neither pin nor CA', args: [URL_, '--allow-path', 'a/b/c'], says: /--pin, or --ca, and not both/ },
    {
        name: 'pin and CA',
        args: [URL_, '--pin', PIN, '--ca', '/etc/hostname', '--allow-path', 'a/b/c'],
        says: /--pin, or --ca, and not both/,
    },
    {
        name: 'a pin of another digest',
        args: [URL_, '--pin', `sha1/${'A'.repeat(27)}=`, '--allow-path', 'a/b/c'],
        says: /--pin: expected sha256\/ and 44 characters of base64, got "sha1\/A+="/,
    },
    {
        name: 'a good pin and one that is none',
        args: [URL_, '--pin', PIN, '--pin', PIN.slice(0, -1), '--allow-path', 'a/b/c'],
        says: /--pin: expected sha256/,
    },
    {
        name: 'a path of two names',
        args: [URL_, '--pin', PIN, '--allow-path', 'a/b'],
        says: /--allow-path: expected REPOSITORY\/TYPE\/TAG, \* within a name, got "a\/b"/,
    },
    {
        name: 'a path with a class',
        args: [URL_, '--pin', PIN, '--allow-path', 'a/b/c', '--allow-path', 'a/b/[cd]'],
        says: /--allow-path: expected .* got "a\/b\/\[cd\]"/,
    },
    { name: 'no address', args: ['kbs.example', '--pin', PIN, '--allow-path', 'a/b/c'], says: /is not an address/ },
    {
        name: 'an address with a path',
        args: [`${URL_}/kbs`, '--pin', PIN, '--allow-path', 'a/b/c'],
        says: /expected an origin/,
    },
    {
        name: 'plain http',
        args: ['http://127.0.0.1:81', '--allow-path', 'a/b/c'],
        says: /plain http is refused/,
        hint: /hint: .*--insecure-http/,
    },
    {
        name: 'plain http to another machine',
        args: ['http://kbs.example', '--insecure-http', '--allow-path', 'a/b/c'],
        says: /plain http is refused/,
        hint: /hint: .*loopback/,
    },
    {
        name: 'plain http with a pin',
        args: ['http://127.0.0.1:81', '--insecure-http', '--pin', PIN, '--allow-path', 'a/b/c'],
        says: /plain http has no key: --pin and --ca mean nothing/,
    },
    { name: 'a CA that is not there', args: [URL_, '--allow-path', 'a/b/c'], ca: null, says: /no such file/ },
    {
        name: 'a CA that is none',
        args: [URL_, '--allow-path', 'a/b/c'],
        ca: 'hello',
        says: /--ca: expected certificates in PEM, .* holds none/,
    },
    {
        name: 'a malformed CA',
        args: [URL_, '--allow-path', 'a/b/c'],
        ca: `${certificatePem(ark)}${MALFORMED_CA}`,
        says: /--ca: expected certificates in PEM, .* holds one that is malformed/,
    },
])
    test(`nothing is written: ${name}`, async (t) => {
        const { folder, config, trust } = guestOf(t)
        const file = join(folder, 'ca.pem')
        if (ca) writeFileSync(file, ca)
        const { code, stdout, stderr } = await trust('add', ...args, ...(ca === undefined ? [] : ['--ca', file]))
        t.is(code, 2, stderr)
        t.is(stdout, '')
        t.regex(stderr, says)
        t.regex(stderr, hint ?? /^ {2}hint: guest-attest trust add --help$/m)
        t.false(existsSync(config))
    })

for (const { name, spoil, code, says } of [
    {
        name: 'a member that nobody knows',
        spoil: (file: string) => writeFileSync(file, `url = "${URL_}"\npins = ["${PIN}"]\nallowPath = ["a/b/c"]\n`),
        code: 2,
        says: /trust\.d\/kbs\.toml: .*allowPath.*\(ERR_UNLOCK_ANCHOR_FILE\)/,
    },
    {
        name: 'a file that others may write',
        spoil: (file: string) => chmodSync(file, 0o666),
        code: 1,
        says: /kbs\.toml can be written by others \(mode 0666\) \(ERR_UNTRUSTED_FILE\)\n {2}hint: chmod go-w /,
    },
])
    test(`not believed: ${name}`, async (t) => {
        const { config, trust } = guestOf(t)
        mkdirSync(join(config, 'trust.d'), { recursive: true, mode: 0o755 })
        const file = join(config, 'trust.d/kbs.toml')
        writeFileSync(file, `url = "${URL_}"\npins = ["${PIN}"]\nallowPaths = ["a/b/c"]\n`, { mode: 0o644 })
        t.is((await trust('list')).code, 0)
        spoil(file)
        for (const args of [['list'], ['add', 'https://other.example', '--pin', PIN, '--allow-path', 'a/b/c']]) {
            const ran = await trust(...args)
            t.is(ran.code, code, ran.stderr)
            t.is(ran.stdout, '')
            t.regex(ran.stderr, says)
        }
        t.deepEqual(readdirSync(join(config, 'trust.d')), ['kbs.toml'])
    })

needs(ROOT)('a full disk: nothing half-written, and what was there stays', async (t) => {
    const { folder, config } = guestOf(t)
    const program = `${process.execPath} ${MAIN} trust`
    // In a namespace of its own: the mount goes with it.
    const script = `
        mkdir ${config} && mount -t tmpfs -o size=16k,mode=755 tmpfs ${config} && cd ${config} || exit 9
        ${program} ${add.join(' ')}; echo "first $?"
        sha256sum trust.d/*; head -c 65536 /dev/zero > ballast 2>/dev/null
        ${program} add https://other.example --pin ${PIN} --allow-path a/b/c; echo "other $?"
        ${program} ${add.join(' ')} --replace --pin ${PIN_2}; echo "replace $?"
        ls -A trust.d; sha256sum trust.d/*`
    const ran = await run('unshare', ['--mount', 'sh', '-c', script], {
        env: { GUEST_ATTEST_CONFIG: config },
        cwd: folder,
    })
    t.is(ran.code, 0, ran.stderr)
    const [first, digest, other, replace, ...left] = ran.stdout.trim().split('\n')
    t.deepEqual([first, other, replace], ['first 0', 'other 3', 'replace 3'])
    t.regex(ran.stderr, /ENOSPC.*\(ERR_FILE\)/)
    t.deepEqual(left, ['kbs.example_8443.toml', digest])
})

for (const { url, file } of [
    { url: 'vsock://2:8443', file: '2_8443_vsock.toml' },
    { url: 'unix:///run/kbs_a.sock', file: '_2frun_2fkbs_5fa.sock_unix.toml' },
])
    test(`a broker on no network: ${url}`, async (t) => {
        const { config, trust, files } = guestOf(t)
        t.is((await trust('add', url, '--pin', PIN, '--allow-path', 'default/luks/web')).code, 0)
        t.deepEqual(files(), [file])
        t.like(readAnchors(config)[0], { trust: { pins: [PIN] }, origin: { origin: url } })
        t.regex((await trust('list')).stdout, new RegExp(`^${RegExp.escape(url)}\n`))
        const ca = await trust('add', url, '--ca', '/nowhere.pem', '--allow-path', 'default/luks/web', '--replace')
        t.is(ca.code, 2)
        t.regex(ca.stderr, /has no name that a CA could vouch for: expected --pin/)
        t.is((await trust('rm', url)).code, 0)
        t.deepEqual(files(), [])
    })
