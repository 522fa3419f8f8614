// The bundles: what must not be in the pin is not, the pin of the initrd hears nobody, and both run far from this folder.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import test from 'ava'
import { buildPin, buildProgram, forbidden } from '#packaging/build.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'

const folder = temporaryFolder({ teardown: test.after.always })
const pin = join(folder, 'pin')
const program = join(folder, 'moved')

let metafile: Awaited<ReturnType<typeof buildPin>>
test.before(async () => {
    metafile = await buildPin(pin, 'initrd', process.execPath)
    // Built in one place and used in another, without this project's packages beside it.
    const built = join(folder, 'built')
    await buildProgram(built)
    mkdirSync(program)
    renameSync(built, program)
    writeFileSync(join(program, 'package.json'), '{"type":"module"}')
})

// As a person runs it: by its first line, with this Node on PATH.
const guestAttest = (args: readonly string[]) =>
    run(join(program, 'guest-attest.mjs'), args, {
        cwd: '/',
        env: { PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) },
    })

test('the pin has nothing of the broker, the emulator or the verifying half in it', (t) => {
    t.deepEqual(forbidden(metafile), [])
    t.true(Object.keys(metafile.inputs).includes('src/unlock/release.ts'))
    // The rule notices: the encrypting program with the broker's core in it.
    const spoilt = { ...metafile.inputs, 'src/broker/serve.ts': { bytes: 1, imports: [] } }
    t.deepEqual(forbidden({ ...metafile, inputs: spoilt }), ['src/broker/serve.ts'])
})

for (const name of ['clevis-encrypt-kbs', 'clevis-decrypt-kbs'])
    test(`${name}: starts from its bundle, and answers as clevis asks`, async (t) => {
        const { code, stdout, stderr } = await run(join(pin, `${name}.cjs`), ['--summary'], { cwd: '/' })
        t.is(code, name === 'clevis-encrypt-kbs' ? 0 : 2, stderr)
        if (code === 0) t.regex(stdout, /key broker/)
        t.true(readFileSync(join(pin, `${name}.program.cjs`), 'utf8').length > 50_000)
    })

test('the pin of the initrd takes nothing from the environment', async (t) => {
    const config = join(folder, 'etc')
    mkdirSync(join(config, 'trust.d'), { recursive: true })
    writeFileSync(join(config, 'config.toml'), 'this is not TOML', { mode: 0o644 })
    const input = JSON.stringify({ url: 'https://kbs.example:8443', path: 'a/b/c' })
    const cache = join(folder, 'cache')
    const env = {
        GUEST_ATTEST_CONFIG: config,
        GUEST_ATTEST_INSECURE_EMULATED_DEVICE: '1',
        NODE_OPTIONS: '--require=/nowhere.cjs',
        NODE_COMPILE_CACHE: cache,
        PATH: '/nowhere',
    }
    const { code, stdout, stderr } = await run(join(pin, 'clevis-encrypt-kbs.cjs'), [input], { env, input: 'secret' })
    t.is(code, 1)
    t.is(stdout, '')
    t.regex(stderr, /ERR_UNLOCK_NOT_ANCHORED/)
    t.notRegex(stderr, new RegExp(config))
    t.false(existsSync(cache))
    for (const name of ['clevis-encrypt-kbs', 'clevis-decrypt-kbs'])
        t.is(/GUEST_ATTEST_\w+/.exec(readFileSync(join(pin, `${name}.program.cjs`), 'utf8'))?.[0], undefined)
})

test('the whole program has one way in', (t) =>
    t.deepEqual(
        readdirSync(program).filter((name) => name.endsWith('.mjs')),
        ['guest-attest.mjs'],
    ))

test('the whole program runs where it was moved to: verify, and a broker', async (t) => {
    const help = await guestAttest(['--help'])
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

needs(FUSE, programs('unshare'))('the whole program runs where it was moved to: an emulated guest', async (t) => {
    const entry = join(program, 'guest-attest.mjs')
    const inside = [process.execPath, entry, 'detect']
    const { code, stdout, stderr } = await guestAttest(['emulate', '--tee', 'snp', '--', ...inside])
    t.is(code, 0, stderr)
    t.regex(stdout, /technology +snp/)
})
