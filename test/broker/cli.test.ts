// The commands of the broker, as a person types them: one broker, and a process for each command.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { join } from 'node:path'
import test from 'ava'
import { stringifyJson } from '#core/json.ts'
import { parseCredential } from '#kbs/credential.ts'
import { enrolling } from '#kbs/enroll.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import packageJson from '#package.json' with { type: 'json' }
import { toKbs } from '#plugins/snp/kbs-evidence.ts'
import { temporaryFolder } from '#test/folder.ts'
import { report, table } from '#test/plugins/snp/minted.ts'
import { PROGRAM, run, startBroker } from './process.ts'
import { asker, attest, POLICY, REFERENCE, theVendor } from './rig.ts'

const after: (() => unknown)[] = []
const folder = temporaryFolder({ teardown: (end) => after.push(end) })
const data = join(folder, 'data')
const vendor = await theVendor()
const broker = await startBroker({ folder, vendor })
after.unshift(() => broker.end('SIGKILL'))
test.after.always(() => Promise.all(after.map((end) => end())))

const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
}
const command = (...words: string[]) => run('broker', ...words, '--data', data)

test.serial('the first start says what it made, and how guests trust it', (t) => {
    const text = broker.log.join('\n')
    for (const name of ['master', 'audit', 'token', 'ca', 'server']) {
        t.true(text.includes(`made ${data}/keys/${name}.key: `), name)
        t.is(statSync(join(data, 'keys', `${name}.key`)).mode & 0o777, 0o600)
    }
    t.regex(text, /nothing is released yet: there is no policy .*, no reference set .*, no resource/)
    t.regex(text, /WARNING: the vendors' roots are NOT trusted/)
    t.regex(text, /guest-attest trust add https:\/\/127\.0\.0\.1:\d+ --pin sha256\/[A-Za-z0-9+/]{43}= --allow-path/)
    const master = readFileSync(join(data, 'keys/master.key'))
    for (const form of ['hex', 'base64', 'latin1'] as const) t.false(text.includes(master.toString(form)))
    t.is(statSync(join(data, 'admin.sock')).mode & 0o777, 0o600)
})

test.serial('credential: made here, its hash there, used from anywhere, ended', async (t) => {
    const out = join(folder, 'ops.credential')
    const added = await command('credential', 'add', 'ops', '--allow-path', 'enrolled/*/*', '--out', out)
    t.is(added.code, 0, added.stderr)
    t.regex(added.stderr, /ops\.credential holds the credential ops: create until 20/)
    t.is(statSync(out).mode & 0o777, 0o600)
    t.is(
        (await command('credential', 'add', 'ops', '--allow-path', 'a/b/c', '--out', out)).code,
        2,
        'the file is there',
    )
    const other = join(folder, 'other.credential')
    const again = await command('credential', 'add', 'ops', '--allow-path', 'a/b/c', '--out', other)
    t.is(again.code, 2)
    t.regex(again.stderr, /there is a credential ops already/)
    t.false(existsSync(other), 'what the broker does not know is in no file')
    const credential = parseCredential(readFileSync(out), out)
    const origin = new URL(broker.url)
    const [pin = ''] = /sha256\/[A-Za-z0-9+/]{43}=/.exec(broker.log.join('\n')) ?? []
    const { create, store } = enrolling({ origin, trust: { pins: [pin] } }, credential, {
        signal: AbortSignal.timeout(20_000),
        requestTimeoutMs: 10_000,
    })
    const path = parseResourcePath('enrolled/disk/one')
    t.is(await create(path), 1)
    await t.throwsAsync(create(path), { code: 'ERR_KBS_EXISTS', message: /version 1: it is not replaced/ })
    await t.throwsAsync(store(path, randomBytes(32), 1), { code: 'ERR_KBS_CREDENTIAL', message: /may not rotate/ })
    await t.throwsAsync(create(parseResourcePath('web/disk/one')), { code: 'ERR_KBS_CREDENTIAL' })
    t.regex((await command('credential', 'list')).stdout, /^ops +create +enrolled\/\*\/\* +20\S+ +1 of 100$/m)
    t.regex((await command('audit')).stdout, / put +enrolled\/disk\/one +credential=ops .*peer=127/)
    t.is((await command('rm', 'enrolled/disk/one')).code, 0)
    t.is((await command('credential', 'rm', 'ops')).code, 0)
    t.is((await command('credential', 'rm', 'ops')).code, 1)
    await t.throwsAsync(create(path), { code: 'ERR_KBS_CREDENTIAL' })
    for (const [option, value, says] of [
        ['--expires', '1y', /--expires: expected 30m/],
        ['--expires', '91d', /at most 90d/],
        ['--may', 'read', /--may: expected create or rotate/],
        ['--allow-path', 'a/b', /is no pattern/],
    ] as const) {
        const words = ['--allow-path', 'a/b/c', option, value].slice(option === '--allow-path' ? 2 : 0)
        const refused = await command('credential', 'add', 'x', ...words, '--out', other)
        t.is(refused.code, 2)
        t.regex(refused.stderr, says)
        t.false(existsSync(other))
    }
})

test.serial('put: made by the broker, from a file, from standard input', async (t) => {
    const made = await command('put', 'web/disk/root', '--random')
    t.is(made.code, 0, made.stderr)
    t.regex(made.stderr, /web\/disk\/root is stored: version 1, luks-key/)
    t.is(made.stdout, '')
    const secret = randomBytes(30)
    t.is((await command('put', 'web/files/key', file('secret', secret), '--max-releases', '2')).code, 0)
    const piped = spawnSync(process.execPath, [PROGRAM, 'broker', 'put', 'web/files/piped', '-', '--data', data], {
        input: 'from a pipe',
    })
    t.is(piped.status, 0, piped.stderr.toString())
    const listed = await command('list')
    t.regex(listed.stdout, /web\/disk\/root +luks-key +1 .* 0$/m)
    t.regex(listed.stdout, /web\/files\/key +opaque +1 .* 0 of 2$/m)
    const entries = JSON.parse((await command('list', '--json')).stdout)
    t.is(entries.length, 3)
    t.false(JSON.stringify(entries).includes(secret.toString('hex')))
})

test.serial('put: a disk key that its owner has made', async (t) => {
    const key = randomBytes(32)
    key[0] = 0 // no text
    const put = await command('put', 'web/disk/own', file('own', key), '--kind', 'luks-key')
    t.is(put.code, 0, put.stderr)
    t.regex(put.stderr, /web\/disk\/own is stored: version 1, luks-key/)
    for (const [name, bytes, message] of [
        ['short', key.subarray(1), /got 31 bytes/],
        ['text', Buffer.from('correct horse battery staple 123'), /got text/],
    ] as const) {
        const refused = await command('put', 'web/disk/own', file(name, bytes), '--kind', 'luks-key')
        t.is(refused.code, 2)
        t.regex(refused.stderr, message)
    }
    t.is((await command('rm', 'web/disk/own')).code, 0)
})

test.serial('put: a disk key is not replaced by accident', async (t) => {
    await command('put', 'web/disk/used', '--random')
    for (const words of [['--random'], [file('used', Buffer.from('text'))]]) {
        const refused = await command('put', 'web/disk/used', ...words)
        t.is(refused.code, 2)
        t.regex(refused.stderr, /is a disk key, version 1: .*ERR_BROKER_EXISTS.*\n {2}hint: --replace/)
    }
    t.regex((await command('put', 'web/disk/used', '--random', '--replace')).stderr, /version 2, luks-key/)
    t.is((await command('rm', 'web/disk/used')).code, 0)
})

for (const { words, code, message } of [
    { words: ['put', 'web/x/y', '/etc/hostname', '--random'], code: 2, message: /--random and \/etc\/hostname: the/ },
    { words: ['put', 'web/x/y'], code: 2, message: /say where the bytes come from/ },
    { words: ['put', 'web/x/y', '--random', '--max-releases', 'x'], code: 2, message: /expected a whole number/ },
    {
        words: ['put', 'web/x', '--random'],
        code: 2,
        message: /names no resource: expected REPOSITORY\/TYPE\/TAG, with .*ERR_KBS_URI/,
    },
    { words: ['put', 'web/x/y', '--random', '--max-releases', '0'], code: 2, message: /number from 1 on/ },
    { words: ['put', 'web/x/y', '/dev/null'], code: 2, message: /nothing is in it/ },
    { words: ['put', 'web/x/y', '--random', '--kind', 'opaque'], code: 2, message: /--random makes a luks-key/ },
    { words: ['put', 'web/x/y', '/dev/null', '--kind', 'other'], code: 2, message: /Choices: "opaque", "luks-key"/ },
    { words: ['put', 'web/x/y', '/etc/hostname', '--kind', 'luks-key'], code: 2, message: /expected 32 random bytes/ },
    { words: ['rm', 'web/x/none'], code: 1, message: /there is no resource web\/x\/none/ },
    { words: ['policy', 'rm', 'none'], code: 1, message: /there is no policy none/ },
    { words: ['policy', 'show', 'none'], code: 1, message: /there is no policy none/ },
    { words: ['reference', 'show', 'none'], code: 1, message: /there is no reference set none/ },
    { words: ['reference', 'add'], code: 2, message: /name a file, or evidence/ },
    {
        words: ['reference', 'add', '/dev/null'],
        code: 2,
        message: /\/dev\/null: an empty file, a reference set was exp/,
    },
    { words: ['reference', 'add', '/etc/passwd'], code: 2, message: /: \/etc\/passwd:1:\d+: / },
    { words: ['policy', 'check', '/etc/passwd'], code: 2, message: /: \/etc\/passwd:1: / },
    { words: ['policy', 'put', 'empty', '/dev/null'], code: 2, message: /\/dev\/null: there is no rule in it/ },
    { words: ['explain', '/dev/null', 'a/b/c'], code: 2, message: /\/dev\/null: an empty file, evidence was expected/ },
    {
        words: ['audit', '--verify', '--checkpoint', '/etc/passwd'],
        code: 2,
        message: /passwd: not the head of an audit/,
    },
    {
        words: ['audit', '--verify', '--checkpoint', '/nowhere/x'],
        code: 2,
        message: /: \/nowhere\/x: no such file or fo/,
    },
    {
        words: ['reference', 'add', '--from-evidence', '/etc/hostname'],
        code: 2,
        message: /needs --name and --coverage/,
    },
    {
        words: ['reference', 'add', '--from-evidence', '/etc/hostname', '--name', 'a', '--coverage', 'firmware'],
        code: 2,
        message: /\/etc\/hostname: not a proof that I know/,
    },
    { words: ['audit', '--correlation', 'none'], code: 0, message: /^$/ },
    { words: ['audit', '--since', 'yesterday'], code: 2, message: /expected a time/ },
    { words: ['explain', '/etc/hostname', 'a/b/c'], code: 1, message: /ERR_EVIDENCE_UNKNOWN/ },
])
    test.serial(`refused: ${words.join(' ')}`, async (t) => {
        const { code: got, stdout, stderr } = await command(...words)
        t.is(got, code, stderr)
        t.regex(stderr, message)
        t.is(stdout, '')
    })

test.serial('policies: checked, put, listed, shown, taken out of force', async (t) => {
    const bad = await command(
        'policy',
        'check',
        file('bad.cedar', '\npermit (principal, action, resource);'),
        '--name',
        'bad',
    )
    t.is(bad.code, 2)
    t.regex(bad.stderr, /bad\.cedar:2: a permit needs a name/)
    const good = file('good.cedar', POLICY)
    t.regex((await command('policy', 'check', good)).stderr, /valid: 1 permit, 0 forbid/)
    t.is((await command('policy', 'list')).stdout, 'there is no policy: nothing is released\n')
    t.is((await command('policy', 'put', 'main', good)).code, 0)
    t.regex((await command('policy', 'list')).stdout, /web-disks +main:2 +permit +any number +insecureCustomRoot/)
    t.is((await command('policy', 'show', 'main')).stdout, POLICY)
    const twin = await command('policy', 'put', 'other', good)
    t.is(twin.code, 2)
    t.regex(twin.stderr, /stands in main:2 too/)
    t.regex(
        (await command('policy', 'schema')).stdout,
        /\/\/ \[the HOST\] what the host put in at launch\n +hostData: String,/,
    )
})

test.serial('reference sets: from a file and from evidence', async (t) => {
    t.is((await command('reference', 'add', file('web.toml', REFERENCE))).code, 0)
    t.is((await command('reference', 'show', 'web')).stdout, REFERENCE)
    const evidence = file(
        'other.bin',
        Buffer.concat([report(vendor, { measurement: Buffer.alloc(48, 5) }), table(vendor)]),
    )
    const made = await command(
        'reference',
        'add',
        '--from-evidence',
        evidence,
        '--name',
        'other',
        '--coverage',
        'firmware',
    )
    t.is(made.code, 0, made.stderr)
    t.true(made.stdout.includes(`measurements = ["${'05'.repeat(48)}"]`))
    const listed = await command('reference', 'list')
    t.regex(listed.stdout, /web +snp +firmware\+kernel\+initrd\+cmdline +always +2222/)
    t.regex(listed.stdout, /other +snp +firmware +always +0505/)
    const again = file('again.toml', made.stdout)
    t.is((await command('reference', 'add', again)).code, 0, 'what was printed can be added')
    t.is((await command('reference', 'rm', 'other')).code, 0)
    const broken = await command(
        'reference',
        'add',
        file('broken.toml', REFERENCE.replace('[policy]', '[policy]\nfoo = 1')),
    )
    t.is(broken.code, 2)
    t.regex(broken.stderr, /foo/)
})

test.serial('reference sets: from what was predicted', async (t) => {
    const prediction = (byte: string, changes = {}) => ({
        tee: 'snp',
        measurements: { measurement: byte.repeat(48) },
        coverage: 'firmware+kernel+initrd+cmdline',
        coverageNote: 'where the firmware refuses what does not match',
        assumed: [],
        unpredicted: {},
        inputs: { vcpus: 2 },
        ...changes,
    })
    const json = (name: string, value: unknown) => file(name, stringifyJson(value))
    const [two, four] = [json('two.json', prediction('07')), json('four.json', prediction('08'))]
    const made = await command('reference', 'add', '--from-measure', two, '--from-measure', four, '--name', 'predicted')
    t.is(made.code, 0, made.stderr)
    t.true(made.stdout.includes(`measurements = ["${'07'.repeat(48)}", "${'08'.repeat(48)}"]`))
    const shown = await command('reference', 'list')
    t.regex(shown.stdout, /predicted +snp +firmware\+kernel\+initrd\+cmdline +always +0707.* and 1 more/)
    t.is((await command('reference', 'rm', 'predicted')).code, 0)
    const refused = await command('reference', 'add', '--from-measure', two, '--name', 'x', '--from-evidence', two)
    t.is(refused.code, 2)
    t.regex(refused.stderr, /stands alone/)
})

test.serial('explain: would it be released, and why', async (t) => {
    const known = file(
        'known.json',
        stringifyJson(toKbs({ tee: 'snp', report: report(vendor), certificates: table(vendor) })),
    )
    const yes = await command('explain', known, 'web/disk/root')
    t.is(yes.code, 0, yes.stderr)
    t.regex(yes.stdout, /WOULD BE RELEASED\n {2}permitted by web-disks \(main:2\)/)
    t.regex(yes.stdout, /freshness +not checked/)
    t.regex(yes.stdout, /! +insecureCustomRoot/)
    const unknown = file(
        'unknown.bin',
        Buffer.concat([report(vendor, { measurement: Buffer.alloc(48, 5) }), table(vendor)]),
    )
    const no = await command('explain', unknown, 'web/disk/root', '--json')
    t.is(no.code, 1)
    const told = JSON.parse(no.stdout)
    t.is(told.code, 'ERR_BROKER_DENIED_REFERENCE')
    t.regex(told.references[0].detail, /expected 2222.*, got 0505/, 'the operator sees what is accepted')
    const forged = report(vendor)
    forged[0x90] = 9
    const never = await command(
        'explain',
        file('forged.bin', Buffer.concat([forged, table(vendor)])),
        'web/disk/root',
        '--json',
    )
    t.is(never.code, 1)
    t.is(JSON.parse(never.stdout).code, 'ERR_SNP_SIGNATURE')
    const nothing = await command('explain', known, 'web/disk/none')
    t.is(nothing.code, 1)
    t.regex(nothing.stdout, /there is no such resource \(ERR_KBS_NOT_FOUND\)/)
})

test.serial('a guest gets its key, until the resource is erased', async (t) => {
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
    const guest = await attest(asker(broker.url, agent), vendor)
    t.is(guest.open(await guest.get('web/disk/root', 'luks-key')).length, 32)
    const claims = JSON.parse(Buffer.from(guest.token.split('.')[1] ?? '', 'base64url').toString())
    t.is(claims['ear.verifier-id'].build, `guest-attest ${packageJson.version}`)
    t.is((await command('rm', 'web/disk/root')).code, 0)
    t.is((await guest.get('web/disk/root', 'luks-key')).status, 404)
    await command('put', 'web/disk/root', '--random')
    t.is(
        JSON.parse((await command('list', '--json')).stdout).find((r: { path: string }) => r.path === 'web/disk/root')
            .version,
        2,
    )
    agent.destroy()
})

test.serial('SIGHUP reads the revocation lists again', async (t) => {
    const list = join(folder, 'collateral/list.crl')
    const bytes = readFileSync(list)
    const known = join(folder, 'known.json')
    const findings = async () => {
        const { stdout } = await command('explain', known, 'web/disk/root', '--json')
        return JSON.parse(stdout).floor.map((finding: { switch: string }) => finding.switch)
    }
    t.deepEqual(await findings(), ['insecureCustomRoot'])
    rmSync(list)
    broker.child.kill('SIGHUP')
    await until(() => broker.log.some((line) => line.includes('were read again')))
    t.deepEqual(await findings(), ['insecureCustomRoot', 'insecureNoRevocation'])
    writeFileSync(list, 'no list')
    broker.child.kill('SIGHUP')
    await until(() => broker.log.some((line) => line.includes('cannot be read; those read before stay')))
    writeFileSync(list, bytes)
    broker.child.kill('SIGHUP')
    await until(() => broker.log.filter((line) => line.includes('were read again')).length === 2)
    t.deepEqual(await findings(), ['insecureCustomRoot'])
})

test.serial('logs are JSON lines, whatever is not said to a person', (t) => {
    const lines = broker.log.filter((line) => !/^(?:guest-attest: | {2}hint: )/.test(line))
    t.true(lines.length > 5)
    for (const line of lines) t.is(JSON.parse(line).name, 'guest-attest')
})

test.serial('SIGTERM ends it; then its commands say so', async (t) => {
    t.is(await broker.end('SIGTERM'), 0)
    t.false(existsSync(join(data, 'admin.sock')))
    const { code, stderr } = await command('list')
    t.is(code, 3)
    t.regex(stderr, /no broker answers at .*ERR_BROKER_STOPPED/)
    const schema = await command('policy', 'schema')
    t.regex(schema.stdout, /^entity Guest \{/m)
    const alone = await command('policy', 'check', file('alone.cedar', POLICY))
    t.is(alone.code, 0, alone.stderr)
    t.regex(alone.stderr, /checked alone, .*\n.*valid: /)
})

for (const { words, code, message } of [
    { words: ['--no-init', '--data', join(folder, 'nowhere')], code: 3, message: /nowhere does not exist/ },
    { words: ['--data', join(folder, 'a'), '--tls-cert', '/etc/hostname'], code: 2, message: /belong together/ },
    { words: ['--data', join(folder, 'b'), '--listen', 'nowhere'], code: 2, message: /expected HOST:PORT/ },
    {
        words: ['--data', join(folder, 'c'), '--listen', '192.0.2.1:0'],
        code: 3,
        message: /made .*\/c\/keys\/master\.key: .*\n {2}hint: back up [\s\S]*cannot listen on 192\.0\.2\.1:0/,
    },
    {
        words: ['--data', join(folder, 'd'), '--listen', '0.0.0.0:0', '--insecure-http'],
        code: 2,
        message: /for loopback alone/,
    },
])
    test.serial(`serve is refused: ${words.join(' ').replaceAll(folder, '')}`, async (t) => {
        const refused = await run('broker', 'serve', ...words)
        t.is(refused.code, code, refused.stderr)
        t.regex(refused.stderr, message)
        t.is(existsSync(join(folder, 'nowhere')), false)
    })

test.serial('a master key that others may read stops the start', async (t) => {
    mkdirSync(join(folder, 'x'), { recursive: true })
    spawnSync('chmod', ['644', join(data, 'keys/master.key')])
    const refused = await run('broker', 'serve', '--data', data, '--listen', '127.0.0.1:0')
    t.is(refused.code, 3)
    t.regex(refused.stderr, /master\.key can be read by others \(mode 0644\) \(ERR_BROKER_KEY\)/)
})

async function until(holds: () => boolean): Promise<void> {
    for (let i = 0; i < 200 && !holds(); i++) await new Promise((resolve) => setTimeout(resolve, 50))
    if (!holds()) throw new Error('it did not happen')
}
