// The executables: what must not be in the initrd's is not, it hears nobody, both run anywhere, from the same sources
// come the same bytes, and a library that is not theirs is refused.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { bundle, forbidden } from '#packaging/bundle.ts'
import { buildExecutable, type Executable, linkPins } from '#packaging/executable.ts'
import { temporaryFolder } from '#test/folder.ts'
import { type Ran, run } from '../cli/run.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'

const folder = temporaryFolder({ teardown: test.after.always })
const BUILDS = programs('strip')
const built = needs(BUILDS)

let initrd: Executable
let whole: Executable
test.before(async () => {
    if (!BUILDS.met) return
    initrd = await buildExecutable('guest-attest-initrd', { out: folder, library: folder })
    whole = await buildExecutable('guest-attest', { out: folder, library: folder })
    linkPins(folder)
})

const pin = (name: string, args: readonly string[] = [], env: Record<string, string> = {}, input = 'secret') =>
    run(join(folder, name), args, { cwd: '/', env: { ...NOTHING, ...env }, input })
// This suite's own variables are not the program's affair.
const NOTHING = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]))
const guestAttest = (args: readonly string[]) => run(whole.path, args, { cwd: '/' })

test('the initrd’s program has nothing of the broker, the emulator or the verifying half in it', async (t) => {
    const { metafile } = await bundle('guest-attest-initrd', 'initrd', { path: '/koffi.node', sha256: '' })
    t.deepEqual(forbidden(metafile), [])
    t.true(Object.keys(metafile.inputs).includes('src/unlock/release.ts'))
    // The rule notices each of these.
    const wrong = [
        'src/broker/serve.ts',
        'src/emulator/serve.ts',
        'plugins/snp/verify.ts',
        'plugins/snp/inspect.ts',
        'plugins/snp/emulated/model.ts',
        ...['collateral', 'pck', 'qe', 'ccel', 'tdvf', 'quote-encode'].map((name) => `plugins/tdx/${name}.ts`),
        'plugins/sev/launch/terms.ts',
        ...['x509', 'mint', 'policy-table', 'launch/ovmf'].map((name) => `src/core/${name}.ts`),
        'src/evidence/judge.ts',
        ...['yargs', 'undici', 'pino', 'fastify', '@fastify/swagger', '@cedar-policy/cedar-wasm', '@peculiar/x509'].map(
            (name) => `node_modules/${name}/index.js`,
        ),
    ]
    for (const path of wrong) {
        const spoilt = { ...metafile.inputs, [path]: { bytes: 1, imports: [] } }
        t.deepEqual(forbidden({ ...metafile, inputs: spoilt }), [path])
    }
})

built('the initrd’s program names no variable of ours', (t) => {
    t.is(/GUEST_ATTEST_\w+/.exec(initrd.code)?.[0], undefined)
    t.regex(whole.code, /GUEST_ATTEST_CONFIG/)
})

for (const name of ['clevis-encrypt-kbs', 'clevis-decrypt-kbs', 'clevis-encrypt-sev', 'clevis-decrypt-sev'])
    built(`${name}: starts by its name, and answers as clevis asks`, async (t) => {
        const { code, stdout, stderr } = await pin(name, ['--summary'])
        t.is(code, name.startsWith('clevis-encrypt') ? 0 : 2, stderr)
        if (code === 0) t.regex(stdout, /key broker|SEV guests/)
    })

built('a link of another name is the program itself', async (t) => {
    const { code, stdout } = await pin('guest-attest-initrd', ['--help'])
    t.is(code, 0)
    t.regex(stdout, /key-socket NAME/)
})

/** Variables that move a Node, an OpenSSL or a C library, and words that a host may write behind a kernel. */
const HOSTILE: Readonly<Record<string, string>> = {
    NODE_OPTIONS: '--require=/nowhere.cjs',
    NODE_EXTRA_CA_CERTS: '/nowhere.pem',
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    NODE_USE_ENV_PROXY: '1',
    NODE_USE_SYSTEM_CA: '1',
    NODE_DEBUG: 'http,https,net,tls,timer,stream,module',
    NODE_DEBUG_NATIVE: 'SEA,CODE_CACHE',
    NODE_V8_COVERAGE: 'FOLDER',
    NODE_COMPILE_CACHE: 'FOLDER',
    NODE_REDIRECT_WARNINGS: 'FOLDER/warnings',
    NODE_PENDING_DEPRECATION: '1',
    NODE_UNIQUE_ID: '1',
    NODE_PATH: '/nowhere',
    NODE_ICU_DATA: '/nowhere',
    OPENSSL_CONF: 'FOLDER/openssl.cnf',
    OPENSSL_MODULES: '/nowhere',
    OPENSSL_ENGINES: '/nowhere',
    OPENSSL_ia32cap: '~0x200000200000000',
    SSL_CERT_FILE: '/nowhere.pem',
    SSL_CERT_DIR: '/nowhere',
    SSLKEYLOGFILE: 'FOLDER/keys',
    UV_THREADPOOL_SIZE: '1',
    LD_LIBRARY_PATH: '/nowhere',
    GLIBC_TUNABLES: 'glibc.malloc.check=3',
    LC_ALL: 'tr_TR.UTF-8',
    HTTPS_PROXY: 'http://127.0.0.1:1',
    https_proxy: 'http://127.0.0.1:1',
    ALL_PROXY: 'socks5://127.0.0.1:1',
    HOSTALIASES: '/nowhere',
    RES_OPTIONS: 'debug',
    TMPDIR: 'FOLDER',
    PATH: '/nowhere',
    HOME: 'FOLDER',
    GUEST_ATTEST_CONFIG: 'CONFIG',
    GUEST_ATTEST_INSECURE_EMULATED_DEVICE: '1',
    BOOT_IMAGE: '/vmlinuz',
    quiet: '1',
}

// A configuration that is none: who reads it says so.
const config = join(folder, 'etc')
mkdirSync(join(config, 'trust.d'), { recursive: true })
writeFileSync(join(config, 'config.toml'), 'this is not TOML', { mode: 0o644 })

const INPUT = JSON.stringify({ url: 'https://kbs.example:8443', path: 'a/b/c' })
let calm: Promise<Ran> | undefined

for (const [name, value] of [...Object.entries(HOSTILE), ['all of them', ''] as const])
    built(`the initrd’s program takes nothing from its environment: ${name}`, async (t) => {
        calm ??= pin('clevis-encrypt-kbs', [INPUT])
        t.regex((await calm).stderr, /ERR_UNLOCK_NOT_ANCHORED/)
        const touched = join(folder, `touched-${name.replaceAll(' ', '-')}`)
        mkdirSync(touched)
        const env = Object.fromEntries(
            (value === '' ? Object.entries(HOSTILE) : [[name, value] as const]).map(([key, text]) => [
                key,
                text.replace('FOLDER', touched).replace('CONFIG', config),
            ]),
        )
        if (env['OPENSSL_CONF']) writeFileSync(env['OPENSSL_CONF'], 'openssl_conf = x\n[x\nbroken')
        const ran = await pin('clevis-encrypt-kbs', [INPUT], env)
        // What native code says before the first line of a program is on standard error, and that is all of it.
        t.deepEqual(env['NODE_DEBUG_NATIVE'] ? { ...ran, stderr: (await calm).stderr } : ran, await calm)
        // Node makes the folder for its cache before anything else, and the program leaves it empty.
        const left = readdirSync(touched, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
        t.deepEqual(
            left.map((entry) => entry.name),
            env['OPENSSL_CONF'] ? ['openssl.cnf'] : [],
        )
    })

built('a word that Node itself does not start with', async (t) => {
    const { code, stdout } = await pin('clevis-decrypt-kbs', [], { NODE_REPL_EXTERNAL_MODULE: '/nowhere.cjs' })
    t.deepEqual({ code, stdout }, { code: 9, stdout: '' })
})

built('another library than that of the build is refused', async (t) => {
    const other = join(folder, 'other')
    mkdirSync(other)
    const { path } = await buildExecutable('guest-attest-initrd', { out: other, library: other })
    symlinkSync(path, join(other, 'clevis-decrypt-kbs'))
    const decrypt = () => run(join(other, 'clevis-decrypt-kbs'), [], { cwd: '/', input: 'no JWE' })
    t.regex((await decrypt()).stderr, /ERR_JWE/)
    // The same sources, the same bytes, wherever they are built.
    const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')
    const again = await buildExecutable('guest-attest-initrd', { out: join(folder, 'again'), library: other })
    t.is(digest(again.path), digest(path))

    const library = join(other, 'koffi.node')
    const bytes = readFileSync(library)
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    writeFileSync(library, bytes)
    const spoilt = await decrypt()
    t.is(spoilt.code, 1)
    t.regex(spoilt.stderr, /koffi\.node: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64} \(ERR_DEVICE_IO\)/)
})

built('the whole program runs where it was moved to: verify, and a broker', async (t) => {
    const away = join(folder, 'away')
    mkdirSync(away)
    cpSync(whole.path, join(away, 'attest'))
    chmodSync(join(away, 'attest'), 0o755)
    const help = await run(join(away, 'attest'), ['--help'], { cwd: '/' })
    t.is(help.code, 0, help.stderr)
    const nothing = await guestAttest(['verify', '/dev/null'])
    t.regex(nothing.stdout, /ERR_EVIDENCE_UNKNOWN/)
    const data = join(folder, 'data')
    // It stops at once, because the address is taken or not its own; what it made shows that it ran.
    const broker = await guestAttest(['broker', 'serve', '--data', data, '--listen', '192.0.2.1:1'])
    t.is(broker.code, 3, broker.stderr)
    t.regex(broker.stderr, /ERR_BROKER_LISTEN/)
    t.true(readFileSync(join(data, 'keys/master.key')).length > 0)
})

built('the whole program has Cedar in it', async (t) => {
    const rules = join(folder, 'rules.cedar')
    writeFileSync(rules, 'permit (principal, action == Action::"release", resource) when { principal.nothing };')
    const { code, stdout, stderr } = await guestAttest(['broker', 'policy', 'check', rules])
    t.is(code, 2, stdout)
    t.regex(stderr, /attribute `nothing` on entity type `Guest` not found/)
})

needs(
    BUILDS,
    FUSE,
    programs('unshare'),
)('the whole program: an emulated guest', async (t) => {
    const { code, stdout, stderr } = await guestAttest(['emulate', '--tee', 'snp', '--', whole.path, 'detect'])
    t.is(code, 0, stderr)
    t.regex(stdout, /technology +snp/)
})
