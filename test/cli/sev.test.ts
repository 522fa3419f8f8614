// The commands of `sev`, from the chain of a platform to the packet that its processor opens, and what they refuse.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import { parseSecretTable } from '#plugins/sev/launch/secret-table.ts'
import { CA, KEYS, leaf, pem } from '../core/peer.ts'
import { temporaryFolder } from '../folder.ts'
import { vectors } from '../machine.ts'
import { needs } from '../needs.ts'
import { fixture } from '../plugins/sev/manifest.ts'
import { FIRMWARE, flipped, minted } from '../plugins/sev/minted.ts'
import { makeFirmware } from '../plugins/sev/rig.ts'
import { guestAttest } from './run.ts'

const { keys, certificates } = await minted()
const serverCertificate = await leaf()

const work = temporaryFolder({ teardown: test.after.always })
const path = (name: string): string => join(work, name)
const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(path(name), bytes)
    return path(name)
}

const { pdh, pek, oca, cek, unsignedCek, ask, ark } = certificates
const exported = file('chain.b64', Buffer.concat([pek, oca, unsignedCek]).toString('base64'))
const PDH = ['--pdh', file('pdh.b64', `${pdh.toString('base64')}\n`)]
const HOST = [...PDH, '--cert-chain', exported]
const ROOT = ['--trust-root', file('ark.cert', ark), '--cert-chain', file('ask.cert', ask)]
const CEK = ['--cek', file('cek.cert', cek)]
const CHIP = 'ab'.repeat(64)

const serial = test.serial

serial('chain verify: a platform under a root of its own', async (t) => {
    const { code, stdout, stderr } = await guestAttest(['sev', 'chain', 'verify', ...HOST, ...ROOT, ...CEK, '--json'])
    t.is(code, 0, stderr)
    const { verdict, claims, checks, weaknesses } = JSON.parse(stdout)
    t.is(verdict, 'accepted')
    t.is(claims.rootIsAmd, false)
    t.deepEqual(
        weaknesses.map(({ name }: { name: string }) => name),
        ['One Glitch to Rule Them All', 'undeSErVed trust', 'SEVered'],
    )
    t.deepEqual(
        checks.map(({ name, result }: { name: string; result: string }) => `${name} ${result}`),
        ['root pass', 'ask pass', 'cek pass', 'oca pass', 'pek pass', 'pdh pass', 'owner skipped'],
    )
    const shown = await guestAttest(['sev', 'chain', 'verify', ...HOST, ...ROOT, ...CEK])
    t.regex(shown.stdout, /ACCEPTED UNDER A ROOT OF YOUR OWN/)
    t.regex(shown.stdout, /known weakness: One Glitch to Rule Them All \(2021-08-10, arXiv:2108\.04575\): /)
})

for (const { name, args, code, says } of [
    { name: 'AMD did not sign it', args: [...HOST, ...CEK], code: 1, says: /ERR_SEV_CHAIN/ },
    { name: 'the chip’s key without signature', args: [...HOST, ...ROOT], code: 3, says: /ERR_SEV_CEK_UNSIGNED/ },
    {
        name: 'another owner',
        args: [...HOST, ...ROOT, ...CEK, '--owner', file('pek.cert', pek)],
        code: 2,
        says: /pek\.cert is no OCA/,
    },
    {
        name: 'a root that is none',
        args: [...HOST, ...CEK, '--trust-root', path('cek.cert')],
        code: 2,
        says: /is no ARK/,
    },
    { name: 'nothing', args: [], code: 2, says: /no certificate was named/ },
    {
        name: 'PDH alone',
        args: PDH,
        code: 1,
        says: /FAIL +cek +CEK is missing: .*hint: .*--cert-chain names its file/s,
    },
    {
        name: 'CEK and PDH alone',
        args: [...PDH, ...ROOT, ...CEK],
        code: 1,
        says: /FAIL +oca +OCA is missing.*hint: .*--cert-chain/s,
    },
    {
        name: 'another kind as CEK',
        args: [...HOST, ...ROOT, '--cek', file('oca.cert', oca)],
        code: 2,
        says: /--cek: \S+oca\.cert is no CEK/,
    },
    {
        name: 'another kind as PDH',
        args: ['--pdh', exported, '--cert-chain', path('pdh.b64'), ...ROOT, ...CEK],
        code: 2,
        says: /--pdh: \S+chain\.b64 is no PDH/,
    },
    ...['--cek', '--pdh', '--owner', '--trust-root'].map((option) => ({
        name: `no certificate as ${option}`,
        args: ['--cert-chain', exported, option, file('noise', Buffer.alloc(2084, 7))],
        code: 2,
        says: new RegExp(`${option}: \\S+noise is no certificate of SEV .*\n +hint: `),
    })),
    {
        name: 'no certificate in the chain',
        args: ['--cert-chain', exported, '--cert-chain', path('noise')],
        code: 1,
        says: /noise is no certificate of SEV/,
    },
    {
        name: 'a certificate that is malformed',
        args: ['--cert-chain', file('bad.cert', flipped(cek, 8 * 6))],
        code: 1,
        says: /bad\.cert, at byte 0: .*reserved/,
    },
    {
        name: 'something behind the chain',
        args: ['--cert-chain', file('more.cert', Buffer.concat([pek, Buffer.alloc(100)]))],
        code: 1,
        says: /more\.cert: no certificate of SEV stands at byte 2084/,
    },
    { name: 'no file', args: ['--cert-chain', path('none')], code: 2, says: /ERR_NOT_FOUND_FILE/ },
    { name: 'half a chip id', args: [...HOST, '--chip-id', 'abcd'], code: 2, says: /expected 64 bytes/ },
    {
        name: 'a chip id of no form',
        args: [...HOST, '--chip-id', 'zz'],
        code: 2,
        says: /expected 64 bytes \(hex, hex:…, b64:… or @FILE\), got "zz"/,
    },
    {
        name: 'a service without TLS',
        args: [...HOST, '--chip-id', CHIP, '--cek-service', 'http://kds.example'],
        code: 2,
        says: /plain http is refused/,
    },
    { name: '--save-cek alone', args: [...HOST, '--save-cek', path('x')], code: 2, says: /keeps what --chip-id asks/ },
])
    serial(`chain verify: ${name}`, async (t) => {
        const ran = await guestAttest(['sev', 'chain', 'verify', ...args])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stdout + ran.stderr, says)
    })

serial('inspect names what judges a certificate', async (t) => {
    const { code, stderr } = await guestAttest(['inspect', path('pek.cert')])
    t.is(code, 1)
    t.regex(stderr, /this is a certificate of SEV, not evidence[\s\S]*hint: `guest-attest sev chain verify/)
})

serial('chain verify: AMD’s service is asked for the chip’s key, which is kept', async (t) => {
    const asked: string[] = []
    const server = createServer({ cert: serverCertificate, key: pem(KEYS) }, (request, response) => {
        asked.push(request.url ?? '')
        if (request.url === `/cek/id/${CHIP}`) response.end(cek)
        else response.writeHead(request.url?.endsWith('cd'.repeat(64)) ? 429 : 404).end('no')
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    t.teardown(() => server.close())
    const service = ['--cek-service', `https://127.0.0.1:${(server.address() as AddressInfo).port}`]
    const env = { NODE_EXTRA_CA_CERTS: file('ca.pem', CA) }
    const verify = (...more: string[]) =>
        guestAttest(['sev', 'chain', 'verify', ...HOST, ...ROOT, ...service, ...more], { env })
    const ran = await verify('--chip-id', CHIP, '--save-cek', path('kept.cert'))
    t.is(ran.code, 0, ran.stderr)
    t.deepEqual(asked, [`/cek/id/${CHIP}`])
    t.deepEqual(readFileSync(path('kept.cert')), cek)
    const unknown = await verify('--chip-id', '00'.repeat(64))
    t.is(unknown.code, 1)
    t.regex(unknown.stderr, /has no key for this chip: it answers 404/)
    const busy = await verify('--chip-id', 'cd'.repeat(64))
    t.is(busy.code, 3)
    t.regex(busy.stderr, /too many requests/)
})

serial('session, inject: files for the host, and for the owner alone', async (t) => {
    const name = path('web-1')
    const made = await guestAttest(['sev', 'session', ...HOST, ...ROOT, ...CEK, '--policy', '0xb', '--name', name])
    t.is(made.code, 0, made.stderr)
    t.is(made.stdout, '')
    t.notRegex(made.stderr, /NOSEND/)
    t.deepEqual(
        ['_godh.b64', '_session.b64', '_tek.bin', '_tik.bin'].map((end) =>
            (statSync(name + end).mode & 0o777).toString(8),
        ),
        ['644', '644', '600', '600'],
    )
    const tek = readFileSync(`${name}_tek.bin`)
    t.is(tek.length, 16)
    for (const form of ['hex', 'base64'] as const) t.false(made.stderr.includes(tek.toString(form)))

    // The host's processor.
    const base64 = (from: string): Buffer => Buffer.from(readFileSync(from, 'latin1'), 'base64')
    const parts = { godh: base64(`${name}_godh.b64`), session: base64(`${name}_session.b64`), policy: 0xb }
    const processor = new EmulatedLaunch(keys, FIRMWARE, parts)
    const firmware = makeFirmware()
    processor.update(firmware)
    const measurement = processor.measure()
    const digest = sha256(firmware)

    const secret = file('disk.key', 'correct horse battery staple')
    const inject = (out: string, ...args: string[]) =>
        guestAttest([
            ...['sev', 'inject', '--tek', `${name}_tek.bin`, '--tik', `${name}_tik.bin`],
            ...['--measurement', measurement.toString('base64'), '--policy', '0xb'],
            ...['--api-major', '1', '--api-minor', '55', '--build-id', '21'],
            ...['--header', path(`${out}.h`), '--payload', path(`${out}.p`), ...args],
        ])
    const injected = await inject('good', '--launch-digest', digest, '--secret', `luks-key:${secret}`)
    t.is(injected.code, 0, injected.stderr)
    t.false(injected.stderr.includes('correct horse'))
    const table = processor.inject({ header: base64(path('good.h')), payload: base64(path('good.p')) })
    t.is(parseSecretTable(table)[0]?.data.toString(), 'correct horse battery staple')

    const small = file('small.fd', makeFirmware(0x20))
    const none = file('none.fd', makeFirmware(0))
    const DISK = `736869e5-84f0-4973-92ec-06879ce3da0b:${secret}`
    for (const { what, args, code, says } of [
        {
            what: 'another guest',
            args: ['--launch-digest', '00'.repeat(32), '--secret', DISK],
            code: 1,
            says: /ERR_SEV_MEASUREMENT/,
        },
        { what: 'no digest', args: ['--secret', DISK], code: 2, says: /--launch-digest/ },
        {
            what: 'half a digest',
            args: ['--launch-digest', 'abcd', '--secret', DISK],
            code: 2,
            says: /expected 32 bytes/,
        },
        {
            what: 'one twice',
            args: ['--launch-digest', digest, '--secret', DISK, '--secret', `luks-key:${secret}`],
            code: 2,
            says: /stands twice/,
        },
        {
            what: 'the null GUID',
            args: ['--launch-digest', digest, '--secret', `00000000-0000-0000-0000-000000000000:${secret}`],
            code: 2,
            says: /null GUID/,
        },
        {
            what: 'the key of a launch',
            args: ['--launch-digest', digest, '--secret', `2E2F6C54-6678-417a-a857-1c3d727d9c0f:${secret}`],
            code: 2,
            says: /nobody gives it by hand/,
        },
        { what: 'no GUID', args: ['--launch-digest', digest, '--secret', secret], code: 2, says: /expected GUID:FILE/ },
        {
            what: 'no room',
            args: ['--launch-digest', digest, '--secret', DISK, '--firmware', small],
            code: 2,
            says: /room for 32/,
        },
        {
            what: 'no area',
            args: ['--launch-digest', digest, '--secret', DISK, '--firmware', none],
            code: 2,
            says: /no area/,
        },
        { what: 'no ES', args: ['--launch-digest', digest, '--secret', DISK, '--es'], code: 2, says: /lacks ES/ },
    ]) {
        const ran = await inject('bad', ...args)
        t.is(ran.code, code, `${what}: ${ran.stderr}`)
        t.regex(ran.stderr, says, what)
        t.false(existsSync(path('bad.h')), what)
    }
    const blind = await inject('blind', '--insecure-unvalidated', '--secret', DISK)
    t.is(blind.code, 0)
    t.regex(blind.stderr, /nobody looked at the launch/)
    t.is((await inject('good', '--launch-digest', digest, '--secret', DISK)).code, 2, 'nothing is overwritten')
})

serial('a policy that lets the host read the guest is warned of, once, where nothing else is wrong', async (t) => {
    const firmware = makeFirmware()
    const image = file('sent.fd', firmware)
    for (const { policy, says } of [
        { policy: 0x3, says: /^guest-attest: warning: the policy has no NOSEND .*the host can read its memory/m },
        { policy: 0x23, says: /^guest-attest: warning: the policy has no NOSEND .*one of AMD’s chips/m },
        { policy: 0xb, says: null },
    ]) {
        const name = path(`sent-${policy}`)
        const words = ['--policy', String(policy)]
        const made = await guestAttest(['sev', 'session', ...HOST, ...ROOT, ...CEK, ...words, '--name', name])
        const base64 = (end: string): Buffer => Buffer.from(readFileSync(name + end, 'latin1'), 'base64')
        const processor = new EmulatedLaunch(keys, FIRMWARE, {
            godh: base64('_godh.b64'),
            session: base64('_session.b64'),
            policy,
        })
        processor.update(firmware)
        const launch = [
            ...['--tek', `${name}_tek.bin`, '--tik', `${name}_tik.bin`, ...words],
            ...['--measurement', processor.measure().toString('base64')],
            ...['--api-major', '1', '--api-minor', '55', '--build-id', '21'],
        ]
        const packet = [
            '--secret',
            `luks-key:${file('sent.key', 'correct horse')}`,
            '--header',
            `${name}.h`,
            '--payload',
            `${name}.p`,
        ]
        const validate = ['sev', 'validate', ...launch, '--firmware', image]
        const inject = ['sev', 'inject', ...launch, ...packet, '--launch-digest', sha256(firmware)]
        for (const ran of [made, await guestAttest(validate), await guestAttest(inject)]) {
            t.is(ran.code, 0, ran.stderr)
            t.is(ran.stderr.split('NOSEND').length, says ? 2 : 1, ran.stderr)
            if (says) t.regex(ran.stderr, says)
        }
        const quiet = await guestAttest([...validate, '--quiet'])
        t.deepEqual([quiet.code, quiet.stdout, quiet.stderr], [0, '', ''])
    }
})

for (const { name, args, code, says } of [
    {
        name: 'a platform that AMD did not make',
        args: [...HOST, ...CEK, '--policy', '3'],
        code: 1,
        says: /ERR_SEV_CHAIN/,
    },
    { name: 'a weak policy', args: [...HOST, ...ROOT, ...CEK, '--policy', '1'], code: 2, says: /lacks NOKS/ },
    { name: 'no ES', args: [...HOST, ...ROOT, ...CEK, '--policy', '3', '--es'], code: 2, says: /lacks ES/ },
    { name: 'reserved bits', args: [...HOST, ...ROOT, ...CEK, '--policy', '0x43'], code: 2, says: /0x40 are reserved/ },
    { name: 'a policy that is none', args: [...HOST, ...ROOT, ...CEK, '--policy', 'x'], code: 2, says: /whole number/ },
    {
        name: 'no PDH',
        args: ['--cert-chain', exported, ...ROOT, ...CEK, '--policy', '3'],
        code: 2,
        says: /PDH is missing/,
    },
])
    serial(`session: ${name}`, async (t) => {
        const ran = await guestAttest(['sev', 'session', ...args, '--name', path('bad')])
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stderr, says)
        t.deepEqual(
            readdirSync(work).filter((one) => one.startsWith('bad_')),
            [],
        )
    })

for (const name of ['', `${work}/`])
    serial(`session: files that would have no name: ${JSON.stringify(name)}`, async (t) => {
        const ran = await guestAttest(['sev', 'session', ...HOST, ...ROOT, ...CEK, '--policy', '0xb', '--name', name])
        t.is(ran.code, 2)
        t.regex(ran.stderr, /--name: expected what the files are called/)
    })

serial('report verify: authentic, accepted, refused', async (t) => {
    const launch = new EmulatedLaunch(keys, FIRMWARE, { ...(await session()), policy: 3 })
    launch.update(Buffer.alloc(4096))
    launch.measure()
    launch.finish()
    const nonce = Buffer.alloc(16, 9)
    const report = launch.report(nonce)
    const digest = sha256(Buffer.alloc(4096))
    const verify = (bytes: Buffer, ...args: string[]) =>
        guestAttest(['sev', 'report', 'verify', file('report.bin', bytes), ...HOST.slice(2), ...ROOT, ...CEK, ...args])
    for (const { args, code, says } of [
        { args: [], code: 3, says: /AUTHENTIC, NOT APPRAISED/ },
        { args: ['--authentic-only'], code: 0, says: /AUTHENTIC, NOT APPRAISED/ },
        { args: ['--launch-digest', digest], code: 0, says: /ACCEPTED/ },
        {
            args: ['--launch-digest', digest, '--nonce', nonce.toString('hex'), '--policy', '3'],
            code: 0,
            says: /ACCEPTED/,
        },
        { args: ['--launch-digest', '00'.repeat(32)], code: 1, says: /REJECTED: ERR_SEV_REPORT_UNEXPECTED/ },
        { args: ['--nonce', '00'.repeat(16)], code: 1, says: /ERR_SEV_REPORT_UNEXPECTED/ },
        { args: ['--policy', '7'], code: 1, says: /0x3, expected 0x7/ },
    ]) {
        const ran = await verify(report, ...args)
        t.is(ran.code, code, `${args}: ${ran.stderr}`)
        t.regex(ran.stdout, says)
        t.regex(ran.stdout, /known weakness: SEVered \(2018-05-24, /)
    }
    const { claims } = JSON.parse((await verify(report, '--json', '--launch-digest', digest)).stdout)
    t.like(claims, { launchDigest: digest, binding: 'none', freshness: 'host-chosen', rootIsAmd: false })
    for (const bytes of [flipped(report, 300), report.subarray(1), Buffer.alloc(0)]) {
        const ran = await verify(bytes, '--launch-digest', digest)
        t.is(ran.code, 1, ran.stderr)
        t.regex(ran.stdout, /REJECTED/)
        t.notRegex(ran.stdout, /known weakness/)
    }
})

needs(vectors('sev/fixtures/sev-certs'))('chain verify: real platforms', async (t) => {
    for (const [line, Line] of [
        ['naples', 'Naples'],
        ['rome', 'Rome'],
    ] as const) {
        const cert = (name: string) => fixture(`fixtures/sev-certs/${line}/${name}.cert`)
        const chain = file(`${line}.chain`, Buffer.concat(['pdh', 'pek', 'oca', 'cek'].map(cert)))
        const ran = await guestAttest(['sev', 'chain', 'verify', '--cert-chain', chain, '--json'])
        t.is(ran.code, 0, ran.stderr)
        t.like(JSON.parse(ran.stdout), { verdict: 'accepted', claims: { productLine: Line, rootIsAmd: true } })
    }
})

async function session() {
    const name = path('for-report')
    await guestAttest(['sev', 'session', ...HOST, ...ROOT, ...CEK, '--policy', '3', '--name', name])
    const base64 = (end: string): Buffer => Buffer.from(readFileSync(name + end, 'latin1'), 'base64')
    return { godh: base64('_godh.b64'), session: base64('_session.b64') }
}

function sha256(bytes: Buffer): string {
    return hash('sha256', bytes)
}
