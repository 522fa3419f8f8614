// `sev aeb serve` and `evidence --via aeb`, over monitors that speak QEMU's messages before an emulated secure processor, and
// what `sev report verify` makes of the evidence.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { createPublicKey, hash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test, { type ExecutionContext } from 'ava'
import * as z from 'zod/mini'
import { aebHost } from '#cli/sev/aeb-host.ts'
import { monitorOptions, startQemu } from '#cli/sev/host/qemu.ts'
import { toBase64 } from '#core/bytes.ts'
import { silent } from '#core/log.ts'
import { encodeAebEvidence, parseAebEvidence } from '#plugins/sev/aeb/evidence.ts'
import { EmulatedLaunch } from '#plugins/sev/emulated/processor.ts'
import { newSession } from '#plugins/sev/launch/session.ts'
import { temporaryFolder } from '../folder.ts'
import { programs, VSOCK_LOOPBACK } from '../machine.ts'
import { needs } from '../needs.ts'
import { FIRMWARE, flipped, minted } from '../plugins/sev/minted.ts'
import { guestAttest, MAIN } from './run.ts'

const { keys, certificates } = await minted()
const { pek, oca, cek, unsignedCek, ask, ark } = certificates

const work = temporaryFolder({ teardown: test.after.always })
const path = (name: string): string => join(work, name)
const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(path(name), bytes)
    return path(name)
}
const ROOT = ['--trust-root', file('ark.cert', ark), '--cert-chain', file('ask.cert', ask)]
const CEK = ['--cek', file('cek.cert', cek)]

const IMAGE = Buffer.alloc(4096, 'guest')
const DIGEST = hash('sha256', IMAGE)

function launched(): EmulatedLaunch {
    const launch = new EmulatedLaunch(keys, FIRMWARE, { ...newSession(createPublicKey(keys.pdh), 3), policy: 3 })
    launch.update(IMAGE)
    launch.measure()
    launch.finish()
    return launch
}

/** The monitor of a guest that runs. Without a report it is one of a QEMU, or a processor, that has none. */
async function monitor(t: ExecutionContext, handle: number, hasReport = true, asked: string[] = []): Promise<string> {
    const launch = launched()
    const commands: Readonly<Record<string, (args: { mnonce?: string }) => object>> = {
        qmp_capabilities: () => ({}),
        'query-sev': () => ({ enabled: true, state: 'running', handle, policy: 3, ...FIRMWARE }),
        'query-sev-capabilities': () => ({ 'cert-chain': toBase64(Buffer.concat([pek, oca, unsignedCek])), pdh: '' }),
        ...(hasReport && {
            'query-sev-attestation-report': ({ mnonce = '' }: { mnonce?: string }) => ({
                data: toBase64(launch.report(Buffer.from(mnonce, 'base64'))),
            }),
        }),
    }
    const socket = join(temporaryFolder(t), 'qmp')
    const server = createServer((connection) => {
        const say = (line: object) => connection.write(`${JSON.stringify(line)}\r\n`)
        say({ QMP: { version: {}, capabilities: [] } })
        createInterface({ input: connection }).on('line', (line) => {
            const { execute, arguments: args = {}, id } = JSON.parse(line)
            asked.push(execute)
            const found = commands[execute]
            if (found) say({ return: found(args), id })
            else say({ id, error: { class: 'CommandNotFound', desc: `The command ${execute} has not been found` } })
        })
    })
    await once(server.listen(socket), 'listening')
    t.teardown(() => server.close())
    return socket
}

/** `sev aeb serve`, until the test ends. */
async function serving(t: ExecutionContext, ...args: readonly string[]) {
    const child = spawn(process.execPath, [MAIN, 'sev', 'aeb', 'serve', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    const exited = once(child, 'exit')
    const log: string[] = []
    const lines = createInterface({ input: child.stderr })
    await new Promise<void>((resolve, reject) => {
        lines.on('line', (line) => {
            log.push(line)
            if (line.includes(': answering at ')) resolve()
        })
        void exited.then(() => reject(new Error(log.join('\n'))))
    })
    return {
        log: () => log.join('\n'),
        async end() {
            child.kill('SIGTERM')
            return (await exited)[0]
        },
    }
}

let number = 0
const evidenceFile = (): string => path(`evidence-${++number}`)
const AEB = ['evidence', '--tee', 'sev', '--via', 'aeb']
const get = (from: string, handle: number, out: string) =>
    guestAttest([...AEB, '--from', from, '--handle', `${handle}`, '--out', out])
const verify = (evidence: string, ...args: string[]) =>
    guestAttest(['sev', 'report', 'verify', evidence, ...ROOT, ...args])

const serial = test.serial

// Whether or not there was one: asking is what it costs.
for (const { name, hasReport, answers } of [
    { name: 'reports', hasReport: true, answers: true },
    { name: 'no reports', hasReport: false, answers: false },
])
    serial(`a guest costs the secure processor one question a second, however often it asks: ${name}`, async (t) => {
        const asked: string[] = []
        const monitors = [await monitor(t, 4, hasReport, asked), await monitor(t, 7, hasReport, asked)]
        let now = 0
        const host = aebHost({ monitors, cek: null, form: 'json', timeoutMs: 5000, log: silent, now: () => now })
        const ask = (handle: number) => host.evidence(handle).catch(({ code }: { code: string }) => code)
        const questions = () => asked.filter((one) => one === 'query-sev-attestation-report').length
        const first = await Promise.all([ask(7), ask(7), ask(7)])
        t.is(typeof first[0] === 'string', !answers, String(first[0]))
        t.deepEqual(first, [first[0], first[0], first[0]] as typeof first)
        t.is(questions(), 1)
        await ask(4)
        t.is(questions(), 2, 'each guest has its own')
        now = 999
        t.deepEqual(await ask(7), first[0])
        t.is(questions(), 2)
        now = 1000
        const later = await ask(7)
        t.is(questions(), 3)
        if (answers) t.notDeepEqual(later, first[0], 'another nonce')
        t.false(await host.has(8))
    })

serial('a host answers a guest, and an owner judges what it got', async (t) => {
    const socket = join(temporaryFolder(t), 'aeb')
    const monitors = [await monitor(t, 4), await monitor(t, 7)].flatMap((qmp) => ['--qmp', qmp])
    const host = await serving(t, ...monitors, '--listen', `unix:${socket}`)
    t.regex(host.log(), /bound to nobody/)
    const out = evidenceFile()
    const got = await get(`unix://${socket}`, 7, out)
    t.is(got.code, 0, got.stderr)
    t.regex(got.stderr, /nothing of them was verified[\s\S]*bound to nobody/)
    t.is(parseAebEvidence(readFileSync(out)).form, 'json')
    const printed = await guestAttest([...AEB, '--from', `unix://${socket}`, '--handle', '7'])
    t.is(parseAebEvidence(Buffer.from(printed.stdout)).form, 'json')
    t.regex(printed.stderr, /bound to nobody/)

    for (const { args, code, says } of [
        { args: [], code: 3, says: /ERR_SEV_CEK_UNSIGNED/ },
        { args: CEK, code: 3, says: /AUTHENTIC, NOT APPRAISED/ },
        { args: [...CEK, '--launch-digest', DIGEST], code: 0, says: /ACCEPTED: .* its own choice/ },
        { args: [...CEK, '--launch-digest', '00'.repeat(32)], code: 1, says: /ERR_SEV_REPORT_UNEXPECTED/ },
    ]) {
        const ran = await verify(out, ...args)
        t.is(ran.code, code, ran.stderr)
        t.regex(ran.stdout, says)
        t.regex(ran.stderr, /bound to nobody/, 'said each time')
    }
    const shown = await guestAttest(['inspect', out])
    t.is(shown.code, 0, shown.stderr)
    t.regex(shown.stdout, /binding +none +[\s\S]*freshness +host-chosen [\s\S]*CEK .*without a signature/)
    t.regex(shown.stderr, /bound to nobody[\s\S]*report verify[\s\S]*nothing of this was verified/)
    const refused = await guestAttest(['verify', out, '--nonce', 'hex:00112233445566778899aabbccddeeff'])
    t.is(refused.code, 1)
    t.regex(refused.stdout, /this is evidence of an attestation evidence broker/)
    t.regex(refused.stderr, /bound to nobody[\s\S]*report verify/)

    const { claims } = JSON.parse((await verify(out, ...CEK, '--launch-digest', DIGEST, '--json')).stdout)
    t.like(claims, {
        via: 'aeb',
        trust: 'informational',
        binding: 'none',
        freshness: 'host-chosen',
        launchDigest: DIGEST,
    })

    // As a launch service shows it: what agrees is worth no more, what contradicts is refused.
    const good = {
        platform: { chip: claims.chip },
        end: { outcome: 'validated', measured: { digest: DIGEST, policy: 3 } },
    }
    const judged = (launches: readonly object[], ...args: string[]) =>
        verify(out, ...CEK, '--launch-record', file('record.json', JSON.stringify({ uuid: 'u', launches })), ...args)
    const agrees = await judged([{ ...good, end: null }, good])
    t.is(agrees.code, 3, agrees.stdout)
    t.regex(agrees.stdout, /launch-record .*proves no more[\s\S]*AUTHENTIC, NOT APPRAISED/)
    for (const [what, launch] of Object.entries({
        'another chip': { ...good, platform: { chip: '00' } },
        'another digest': { ...good, end: { outcome: 'validated', measured: { digest: '00', policy: 3 } } },
        'another policy': { ...good, end: { outcome: 'validated', measured: { digest: DIGEST, policy: 7 } } },
        'no validated launch': { ...good, end: { ...good.end, outcome: 'denied' } },
        'a launch that is open': { ...good, end: null },
    })) {
        const ran = await judged([launch], '--launch-digest', DIGEST)
        t.is(ran.code, 1, what)
        t.regex(ran.stdout, /REJECTED: ERR_SEV_REPORT_UNEXPECTED/, what)
    }
    for (const [text, says] of [
        ['{}', /--launch-record: \S+ is not what `broker launch show UUID --json` prints/],
        ['', /--launch-record: nothing came from \S+[\s\S]*did `guest-attest broker launch show/],
    ] as const) {
        const none = await verify(out, ...CEK, '--launch-record', file('record.json', text))
        t.is(none.code, 2)
        t.regex(none.stderr, says)
    }

    const nobody = evidenceFile()
    const unknown = await get(`unix://${socket}`, 5, nobody)
    t.is(unknown.code, 1)
    t.regex(unknown.stderr, /no guest of this host has the handle 5.*ERR_SEV_AEB_REFUSED/)
    t.false(existsSync(nobody))
    t.is(await host.end(), 0)
    t.regex(host.log(), /"method":"RetrieveAttestationEvidence","status":"answered, bound to nobody"/)
})

serial('packed, and with the certificate that AMD signed', async (t) => {
    const socket = join(temporaryFolder(t), 'aeb')
    await serving(t, '--qmp', await monitor(t, 1), '--listen', `unix:${socket}`, '--form', 'packed', ...CEK)
    const out = evidenceFile()
    t.is((await get(`unix://${socket}`, 1, out)).code, 0)
    const evidence = readFileSync(out)
    t.is(evidence.length, 6460)
    t.is((await verify(out, '--launch-digest', DIGEST)).code, 0)

    const parts = parseAebEvidence(evidence)
    const stranger = await minted()
    for (const [what, changed] of Object.entries({
        'a report of another platform': { ...parts, report: flipped(parts.report, 300) },
        'a PEK of another': { ...parts, pek: stranger.certificates.pek },
        'an OCA of another': { ...parts, oca: stranger.certificates.oca },
        'a CEK of another': { ...parts, cek: stranger.certificates.cek },
        'no CEK': { ...parts, cek: parts.pek },
    })) {
        const ran = await verify(file('changed', encodeAebEvidence(changed, 'json')), '--launch-digest', DIGEST)
        t.is(ran.code, 1, `${what}: ${ran.stderr}${ran.stdout}`)
    }
    const half = await verify(file('half', '{"report":[1]}'), '--launch-digest', DIGEST)
    t.is(half.code, 1)
    t.regex(half.stderr, /ERR_SEV_EVIDENCE/)
})

serial('a host that has no answer says no more than that', async (t) => {
    const socket = join(temporaryFolder(t), 'aeb')
    const gone = path('gone.qmp')
    const monitors = ['--qmp', gone, '--qmp', await monitor(t, 1, false), '--qmp', await monitor(t, 2)]
    const host = await serving(t, ...monitors, '--listen', `unix:${socket}`)
    for (const handle of [1, 3]) {
        const ran = await get(`unix://${socket}`, handle, evidenceFile())
        t.is(ran.code, 3)
        t.regex(ran.stderr, /the host cannot say now \(status 14\)/)
        t.false(ran.stderr.includes('qmp'))
    }
    t.is((await get(`unix://${socket}`, 2, evidenceFile())).code, 0, 'a monitor that has gone keeps no other guest out')
    t.regex(host.log(), /QEMU refuses query-sev-attestation-report/)
    t.regex(host.log(), /warning: no QEMU listens at \S+gone\.qmp yet/)
    const [qmp, listen] = [
        ['--qmp', gone],
        ['--listen', `unix:${socket}2`],
    ] as const
    const wrong = await guestAttest(['sev', 'aeb', 'serve', ...qmp, ...listen, '--cek', path('ark.cert')])
    t.is(wrong.code, 2)
    t.regex(wrong.stderr, /--cek: \S+ark\.cert is no CEK/)
})

needs(programs('qemu-system-x86_64')).serial('QEMU itself, which has no guest of SEV', async (t) => {
    const folder = temporaryFolder(t)
    const [qmp, socket] = [join(folder, 'qmp'), join(folder, 'aeb')]
    const machine = ['-nodefaults', '-display', 'none', '-machine', 'q35,accel=tcg', '-m', '64', '-S']
    const qemu = await startQemu(['qemu-system-x86_64', ...machine, ...monitorOptions(qmp)], qmp)
    t.teardown(() => qemu.kill())
    const mnonce = toBase64(Buffer.alloc(16))
    const report = qemu.qmp.execute('query-sev-attestation-report', z.unknown(), { mnonce })
    await t.throwsAsync(report, { code: 'ERR_QMP_REFUSED', message: /SEV/ })
    qemu.qmp.close() // a monitor serves one at a time
    const host = await serving(t, '--qmp', qmp, '--listen', `unix:${socket}`)
    for (const handle of [0, 1]) {
        const ran = await get(`unix://${socket}`, handle, evidenceFile())
        t.is(ran.code, 1)
        t.regex(ran.stderr, /no guest of this host has the handle/, 'the monitor is let go of, and asked again')
    }
    t.false(host.log().includes('does not say'))
})

for (const { name, bytes, says } of [
    { name: 'breaks off', bytes: '', says: /ended without an answer.*ERR_TTRPC/ },
    { name: 'breaks off within', bytes: '00000005000000010200', says: /broke off after 0 of 5.*ERR_TTRPC/ },
    { name: 'announces too much', bytes: 'ffffffff000000010200', says: /4294967295 bytes.*ERR_TTRPC/ },
    { name: 'speaks nonsense', bytes: '000000020000000102001280', says: /malformed.*ERR_ENCODING/ },
])
    serial(`a host that ${name}`, async (t) => {
        const socket = join(temporaryFolder(t), 'aeb')
        const server = createServer((connection) => connection.once('data', () => connection.end(bytes, 'hex')))
        await once(server.listen(socket), 'listening')
        t.teardown(() => server.close())
        const out = evidenceFile()
        const ran = await get(`unix://${socket}`, 1, out)
        t.is(ran.code, 1, ran.stderr)
        t.regex(ran.stderr, says)
        t.false(existsSync(out))
    })

serial('a guest’s command lines that are refused', async (t) => {
    const out = evidenceFile()
    const BOUND = /: nothing can be bound to evidence of an AEB: its host chooses the nonce[\s\S]*without --via aeb/
    for (const { args, code = 2, says } of [
        { args: ['--nonce', `hex:${'5e'.repeat(32)}`], says: BOUND },
        { args: ['--report-data', 'hex:00'], says: BOUND },
        { args: ['--runtime-data', path('none')], says: BOUND },
        { args: ['--vmpl', '1'], says: /--vmpl: evidence of an AEB has none/ },
        { args: ['--event-log'], says: /--event-log: evidence of an AEB has none/ },
        { args: ['--format', 'kbs'], says: /--format kbs: .* no key broker takes it/ },
        { args: ['--format', 'raw'], says: /--format raw: .* in the form that its host chose/ },
        { args: ['--from', 'https://h:1'], says: /--from: expected vsock:\S+ or unix:/ },
        { args: ['--from', 'foo'], says: /--from: expected vsock:\S+ or unix:/ },
        { args: ['--from', 'unix:///none'], code: 3, says: /aeb serve` on the host/ },
    ]) {
        const ran = await guestAttest([...AEB, '--handle', '1', '--out', out, ...args], { timeoutMs: 20_000 })
        t.is(ran.code, code, `${args}: ${ran.stderr}`)
        t.regex(ran.stderr, says)
        t.is(ran.stdout, '')
    }
    for (const { args, says } of [
        {
            args: ['evidence', '--tee', 'tdx', '--via', 'aeb', '--handle', '1'],
            says: /guests of sev alone, not of tdx/,
        },
        { args: [...AEB, '--handle', '1', '--out', path('ark.cert')], says: /is there already/ },
        { args: AEB, says: /--handle says which guest/ },
        { args: ['evidence', '--tee', 'sev', '--handle', '1'], says: /say whom --via aeb asks/ },
        { args: ['evidence', '--from', 'unix:///none', '--nonce', 'hex:00'], says: /say whom --via aeb asks/ },
        { args: ['detect', '--via', 'aeb'], says: /via/ },
    ]) {
        const ran = await guestAttest(args)
        t.is(ran.code, 2, `${args}: ${ran.stderr}`)
        t.regex(ran.stderr, says)
    }
    t.false(existsSync(out))
})

serial('a host’s command lines that are refused', async (t) => {
    for (const { args, code, says } of [
        { args: ['serve', '--qmp', 'q', '--listen', 'tcp:127.0.0.1:1'], code: 2, says: /expected vsock:PORT or unix/ },
        { args: ['serve', '--qmp', 'q', '--listen', 'unix:s', '--allow-cid', '3'], code: 2, says: /only vsock says/ },
        { args: ['serve', '--qmp', 'q', '--listen', 'unix:/none/s'], code: 3, says: /ERR_LISTEN/ },
        { args: ['serve', '--qmp', 'q', '--form', 'xml'], code: 2, says: /form/ },
        { args: ['serve'], code: 2, says: /qmp/ },
    ]) {
        const ran = await guestAttest(['sev', 'aeb', ...args], { timeoutMs: 20_000 })
        t.is(ran.code, code, `${args}: ${ran.stderr}`)
        t.regex(ran.stderr, says)
    }
})

needs(VSOCK_LOOPBACK).serial('by vsock', async (t) => {
    await serving(t, '--qmp', await monitor(t, 1), '--listen', 'vsock:1:55077', '--allow-cid', '1')
    const out = evidenceFile()
    const ran = await get('vsock://1:55077', 1, out)
    t.is(ran.code, 0, ran.stderr)
    t.is((await verify(out, ...CEK, '--launch-digest', DIGEST)).code, 0)
})
