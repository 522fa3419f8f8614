// `sev launch-host` and `broker launch`, as owner and host type them: the owner's broker, and a QEMU whose secure processor
// is the emulated one; and QEMU itself, for what it answers without SEV.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import * as z from 'zod/mini'
import { monitorOptions, startQemu } from '#cli/sev/host/qemu.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { run, startBroker } from '#test/broker/process.ts'
import { theVendor } from '#test/broker/rig.ts'
import { temporaryFolder } from '#test/folder.ts'
import { minted } from '#test/plugins/sev/minted.ts'
import { makeFirmware } from '#test/plugins/sev/rig.ts'
import { programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { installQemu, STATUS } from './fake-qemu.ts'
import { relayProcess } from './relay-process.ts'

const after: (() => unknown)[] = []
const folder = temporaryFolder({ teardown: (end) => after.push(end) })
const data = join(folder, 'data')
const [vendor, platform] = await Promise.all([theVendor(), minted()])
const broker = await startBroker({ folder, vendor })
after.unshift(() => broker.end('SIGKILL'))
test.after.always(() => Promise.all(after.map((end) => end())))

const pin = /--pin (sha256\/\S+=)/.exec(broker.log.join('\n'))?.[1] ?? ''
const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
}
const firmware = file('AmdSev.fd', makeFirmware())
const key = file('disk.key', 'correct horse')
const root = file('ark.cert', platform.certificates.ark)
const PROCESSORS = '--num-cpus 2 --cpu-family 25 --cpu-model 1 --cpu-stepping 1'.split(' ')

let count = 0
const newUuid = (): string => `7c9e6679-7425-40de-944b-${String(++count).padStart(12, '0')}`
const launch = (...words: string[]) => run('broker', 'launch', ...words, '--data', data)
const register = (uuid: string, ...words: string[]) =>
    launch(
        'register',
        uuid,
        '--firmware',
        firmware,
        ...PROCESSORS,
        '--secret',
        `luks-key:${key}`,
        '--trust-root',
        root,
        ...words,
    )

/** The host, with a QEMU that was installed for this test. */
function host(uuid: string, words: readonly string[] = [], image = firmware, at = broker.url) {
    const own = join(folder, `host-${++count}`)
    const qemu = installQemu(own, platform)
    const service = ['--service', at, '--pin', pin, '--vm', uuid, '--qmp', join(own, 'qmp')]
    const machine = ['-machine', 'q35,confidential-guest-support=sev0', '-smp', '2']
    return {
        own,
        said: () => (existsSync(join(own, 'log')) ? readFileSync(join(own, 'log'), 'utf8').trim().split('\n') : []),
        ended: run(
            'sev',
            'launch-host',
            ...service,
            ...words,
            '--',
            qemu,
            ...machine,
            '-drive',
            `if=pflash,file=${image}`,
        ),
    }
}

test('owner, broker, host, QEMU, guest', async (t) => {
    const uuid = newUuid()
    const token = join(folder, 'web.token')
    const registered = await register(uuid, '--host-token', token)
    t.is(registered.code, 0, registered.stderr)
    t.regex(registered.stderr, /is expected; its host shows the token in .*web\.token/)
    t.regex(registered.stderr, /hint: the roots are the owner’s own/)
    t.is(statSync(token).mode & 0o777, 0o600)
    const { own, said, ended } = host(uuid, ['--token', token])
    const { code, stderr } = await ended
    t.is(code, STATUS, stderr)
    t.regex(stderr, /runs, with its owner’s secrets/)
    t.deepEqual(said(), ['started paused', 'injected', 'runs'])
    const [entry] = parseSecretTable(readFileSync(join(own, 'table')))
    t.deepEqual([entry?.guid, entry?.data.toString()], [DISK_GUID, 'correct horse'])
    const list = await launch('list')
    t.regex(list.stdout, new RegExp(`${uuid} .* 1 of 1 +0 +validated`))
    const show = await launch('show', uuid)
    t.regex(show.stdout, /validated 20.*/)
    t.regex(
        show.stdout,
        /^ {2}policy 0xf: SEV-ES\n {2}launch digest: [0-9a-f]{64}.*\n.*API 0\.17 build 0 or later\n {2}chip: any$/m,
    )
    t.notRegex(show.stdout, /null|[{}]/)
    t.regex(show.stdout, /NOTE: SEVered \(2018-05-24, arXiv:1805\.09604\): /)
    t.false(show.stdout.includes('correct horse'))
    const again = host(uuid, ['--token', token])
    t.is((await again.ended).code, 1, 'one launch was allowed')
    t.deepEqual(again.said(), [])
})

test('another firmware: the guest ends before it ran, and its owner sees why', async (t) => {
    const uuid = newUuid()
    t.is((await register(uuid)).code, 0)
    const { own, said, ended } = host(uuid, [], file('other.fd', makeFirmware()))
    const { code, stderr } = await ended
    t.is(code, 1)
    t.regex(stderr, /denies the launch: only its owner can see why/)
    t.deepEqual(said(), ['started paused'])
    t.false(existsSync(join(own, 'table')))
    t.regex(
        (await launch('show', uuid)).stdout,
        /denied .*: the launch measurement is that of none .*\(ERR_SEV_MEASUREMENT\)/,
    )
    const { stdout } = await run('broker', 'audit', '--data', data)
    t.regex(stdout, new RegExp(`launch-end +${uuid} +outcome=denied code=ERR_SEV_MEASUREMENT peer=127.0.0.1 `))
})

test('a host without the token starts nothing', async (t) => {
    const uuid = newUuid()
    t.is((await register(uuid, '--host-token', join(folder, 'other.token'))).code, 0)
    const { said, ended } = host(uuid)
    t.is((await ended).code, 1)
    t.deepEqual(said(), [])
    t.notRegex((await launch('show', uuid)).stdout, /last refused/, 'anybody can do that')
})

test('through a relay, over a socket', async (t) => {
    const uuid = newUuid()
    t.is((await register(uuid)).code, 0)
    const socket = join(folder, 'relay.sock')
    await relayProcess(t, '--listen', `unix:${socket}`, '--to', new URL(broker.url).host)
    t.is((await host(uuid, [], firmware, `unix://${socket}`).ended).code, STATUS)
})

test('confirm, rm', async (t) => {
    const uuid = newUuid()
    t.is((await register(uuid, '--confirm-after', '0', '--max-launches', '2')).code, 0)
    t.is((await host(uuid).ended).code, 1)
    t.regex((await launch('show', uuid)).stdout, /waits for its owner’s confirmation/)
    t.regex((await launch('confirm', uuid)).stderr, /1 of its 2 launches may be validated/)
    t.is((await host(uuid).ended).code, STATUS)
    t.regex((await launch('confirm', uuid)).stderr, /2 of its 2 launches may be validated/)
    const needless = await launch('confirm', uuid)
    t.is(needless.code, 2)
    t.regex(needless.stderr, /all of the 2 launches .* are confirmed already/)
    for (const step of ['show', 'confirm', 'revoke', 'rm']) {
        const nobody = await launch(step, 'foo')
        t.is(nobody.code, 2)
        t.regex(nobody.stderr, /expected the UUID of a guest, got "foo"/)
    }
    t.is((await launch('rm', uuid)).code, 0)
    t.is((await launch('show', uuid)).code, 1)
    t.is((await host(uuid).ended).code, 1)
})

for (const { name, words, says } of [
    { name: 'no guest', words: [], says: /say which guest it must be/ },
    {
        name: 'a digest and a firmware',
        words: ['--firmware', firmware, '--launch-digest', 'ab'.repeat(32)],
        says: /--launch-digest and --firmware both say .*leave one out/,
    },
    ...(
        [
            [['--max-launches', '0'], /--max-launches: expected 1 to 1000000, got 0/],
            [['--max-open', '0'], /--max-open: expected 1 to 64, got 0/],
            [['--launch-seconds', '0'], /--launch-seconds: expected 10 to 86400, got 0/],
            [['--area-size', '99999'], /--area-size: expected 1 to 16384/],
            [['--confirm-after', '1'], /--confirm-after 1: no launch would wait, --max-launches is 1/],
            [['--min-build-id', '3'], /--min-build-id is nothing without --min-api-major/],
            [['--min-api-major', '0', '--min-api-minor', '5'], /0\.17 is the least that is ever accepted/],
            [['--min-api-major', '256'], /--min-api-major: expected 0 to 255, got 256/],
            [['--chip', '5d3a'], /--chip: expected 32 bytes/],
            [['--cek', file('empty', '')], /--cek: \S+empty is no certificate of SEV: it is empty/],
            [['--cek', key], /--cek: \S+disk\.key is no certificate of SEV/],
            [['--cek', file('pek.cert', platform.certificates.pek)], /--cek: \S+pek\.cert is no CEK/],
            [
                ['--cek', file('unsigned', platform.certificates.unsignedCek)],
                /--cek: \S+unsigned lacks AMD’s signature/,
            ],
            [['--owner', root], /--owner: \S+ark\.cert is no OCA/],
            [['--trust-root', key], /--trust-root: \S+disk\.key is no certificate of SEV/],
            [['--broker-url', broker.url, '--allow-path', 'web'], /--allow-path: expected REPOSITORY\/TYPE\/TAG/],
            [
                ['--broker-url', 'http://127.0.0.1:1', '--allow-path', 'a/b/c'],
                /plain http is refused[^-]*hint: use https\n/,
            ],
            [
                ['--broker-url', broker.url, '--allow-path', 'a/b/c', '--client-seconds', '1', '--host-token', 'x'],
                /--client-seconds: expected 60 to 31622400, got 1/,
            ],
        ] as const
    ).map(([words, says]) => ({
        name: words.join(' ').replaceAll(folder, ''),
        words: ['--launch-digest', 'ab'.repeat(32), ...words],
        says,
    })),
    { name: 'no processors', words: ['--firmware', firmware], says: /--num-cpus is missing/ },
    {
        name: 'processors without ES',
        words: ['--policy', '3', '--firmware', firmware, ...PROCESSORS],
        says: /has no ES/,
    },
    {
        name: 'plain SEV, unsaid',
        words: ['--policy', '0xb', '--firmware', firmware],
        says: /nothing of the processors/,
    },
    {
        name: 'a guest that may be sent away, unsaid',
        words: ['--policy', '7', '--firmware', firmware, ...PROCESSORS],
        says: /no NOSEND .*: the host can read its memory.*\n.*insecure-migration/,
    },
    {
        name: 'a key that anybody could end',
        words: ['--firmware', firmware, ...PROCESSORS, '--broker-url', broker.url, '--allow-path', 'web/*/*'],
        says: /its host shows a token, --host-token writes it/,
    },
    {
        name: 'a firmware without an area',
        words: ['--firmware', file('no.fd', makeFirmware(0)), ...PROCESSORS],
        says: /no area/,
    },
])
    test(`register refuses ${name}`, async (t) => {
        const { code, stderr } = await launch('register', newUuid(), '--secret', `luks-key:${key}`, ...words)
        t.is(code, 2, stderr)
        t.regex(stderr, says)
    })

for (const { name, words, policy, says } of [
    {
        name: 'without a broker',
        words: ['--secret', `luks-key:${key}`],
        policy: 15,
        says: /^ {2}hint: published attacks that it may be open to: One Glitch .*, SEVered; `broker launch show` says .*\n$/,
    },
    {
        name: 'without a kernel',
        words: ['--secret', `luks-key:${key}`, '--firmware', firmware, ...PROCESSORS],
        policy: 15,
        says: /hint: no kernel is measured/,
    },
    {
        name: 'that may be sent away',
        words: ['--secret', `luks-key:${key}`, '--policy', '7', '--insecure-migration'],
        policy: 7,
        says: /hint: the policy has no NOSEND .*: the host can read its memory/,
    },
    {
        name: 'for a broker',
        words: ['--broker-url', broker.url, '--allow-path', 'web/*/*', '--host-token', join(folder, 'a.token')],
        policy: 15,
        says: /SEVered/,
    },
    {
        name: 'for a broker, by a policy that lets it be sent',
        words: [
            '--broker-url',
            broker.url,
            '--allow-path',
            'web/*/*',
            '--policy',
            '0x27',
            '--insecure-migration',
            '--host-token',
            join(folder, 'b.token'),
        ],
        policy: 0x27,
        says: /hint: the policy has no NOSEND .*one of AMD’s chips.*; it gets nothing unless a rule says @insecureMigration/,
    },
])
    test(`register: the policy of a guest ${name}`, async (t) => {
        const digest = words.includes('--firmware') ? [] : ['--launch-digest', 'ab'.repeat(32)]
        const { code, stdout, stderr } = await launch('register', newUuid(), ...digest, ...words, '--json')
        t.is(code, 0, stderr)
        t.is(JSON.parse(stdout).terms.policy, policy)
        t.regex(stderr, says)
    })

const USUAL = ['--qmp', join(folder, 'none'), '--service', broker.url, '--vm', newUuid()]

for (const { name, words, says } of [
    { name: 'no QEMU', words: [...USUAL, '--pin', pin], says: /no QEMU was given/ },
    { name: 'a machine that names no object', words: [...USUAL, '--pin', pin, '--', 'qemu'], says: /does not name/ },
    { name: 'no trust', words: [...USUAL, '--', 'q', 'confidential-guest-support=sev0'], says: /--pin, or --ca/ },
    ...(
        [
            [['--pin', pin, '--ca', root], [], /--pin and --ca both say .*leave one out/],
            [['--pin', pin, '--kernel-hashes'], [], /--kernel-hashes: .* no -kernel/],
            [['--pin', pin, '--cek', key], [], /--cek: \S+disk\.key is no certificate of SEV/],
            [['--pin', pin], ['-S'], /leave out QEMU’s -S/],
            [['--pin', pin], ['--object', 'sev-guest,id=sev0,policy=1'], /leave out QEMU’s -object sev-guest/],
            [['--pin', pin], ['-qmp', `unix:${join(folder, 'none')},server=on`], /leave out QEMU’s -qmp at/],
        ] as const
    ).map(([own, qemu, says]) => ({
        name: [...own.slice(2), ...qemu].join(' ').replaceAll(folder, ''),
        words: [...USUAL, ...own, '--', 'q', 'confidential-guest-support=sev0', ...qemu],
        says,
    })),
    {
        name: 'a guest without UUID',
        words: [...USUAL.slice(0, -1), 'foo', '--pin', pin, '--', 'q', 'confidential-guest-support=sev0'],
        says: /--vm: expected the UUID of a guest, got "foo"/,
    },
    {
        name: 'a QEMU that is not there',
        words: [...USUAL, '--pin', pin, '--', '/nowhere/qemu', 'confidential-guest-support=sev0'],
        says: /cannot be started/,
    },
])
    test(`launch-host refuses ${name}`, async (t) => {
        const { code, stderr } = await run('sev', 'launch-host', ...words)
        t.is(code, 2, stderr)
        t.regex(stderr, says)
    })

needs(programs('qemu-system-x86_64')).serial('QEMU without SEV answers and refuses as ours does', async (t) => {
    const own = join(folder, 'real')
    mkdirSync(own)
    const ask = async (command: readonly string[], name: string) => {
        const socket = join(own, name)
        const qemu = await startQemu([...command, '-S', ...monitorOptions(socket)], socket)
        try {
            const out: Record<string, unknown> = {}
            for (const [execute, args] of [
                ['query-status'],
                ['query-sev'],
                ['query-sev-capabilities'],
                ['query-sev-launch-measure'],
                ['sev-inject-launch-secret', { 'packet-header': 'AAAA', secret: 'AAAA' }],
            ] as [string, object?][])
                out[execute] = await qemu.qmp.execute(execute, z.unknown(), args).then(
                    (answer) => Object.keys(answer as object).toSorted((a, b) => a.localeCompare(b)),
                    ({ code }: { code: string }) => code,
                )
            return out
        } finally {
            qemu.qmp.close()
            await qemu.kill()
        }
    }
    const real = await ask(
        ['qemu-system-x86_64', '-nodefaults', '-display', 'none', '-machine', 'q35,accel=tcg', '-m', '64'],
        'real.sock',
    )
    t.deepEqual(await ask([installQemu(own, platform), '-machine', 'q35,accel=tcg'], 'ours.sock'), real)
    t.is(real['query-sev-capabilities'], 'ERR_QMP_REFUSED')
    t.true((real['query-sev'] as string[]).includes('build-id'))
})
