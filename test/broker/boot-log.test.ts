// What a reference set of TDX covers, sets from the log of a boot, and rules that speak of what was booted: over really
// signed quotes, a broker that serves, and the program.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type Decision, decide } from '#broker/decision/decide.ts'
import { publicReason } from '#broker/decision/denial.ts'
import { standingOf } from '#broker/decision/floor.ts'
import { compilePolicies } from '#broker/decision/policies.ts'
import { readReference } from '#broker/decision/references.ts'
import { Checks } from '#core/checks.ts'
import { stringifyJson } from '#core/json.ts'
import { earClaims } from '#evidence/ear.ts'
import type { Authentic } from '#evidence/verifier.ts'
import { encodeCcel } from '#plugins/tdx/event-log/ccel.ts'
import { tdx } from '#plugins/tdx/index.ts'
import { toKbs } from '#plugins/tdx/kbs-evidence.ts'
import { type QuoteChanges, tcbSvn } from '#plugins/tdx/mint/quote.ts'
import { STATUS_SVNS } from '#plugins/tdx/mint/statements.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import * as vocabulary from '#plugins/tdx/vocabulary.ts'
import { temporaryFolder } from '#test/folder.ts'
import { BOOT, event, registersOf } from '#test/plugins/tdx/boot.ts'
import { named, quote, trustIn, vendor } from '#test/plugins/tdx/minted.ts'
import { run } from './process.ts'
import { type Rig, rig } from './rig.ts'

const own = await vendor()
const verifier = tdxVerifier(trustIn(own))
const verifiers = new Map([['tdx', verifier]])

const MRTD = '22'.repeat(48)
const ALL = 'firmware+kernel+initrd+cmdline'
const rtmrs = registersOf(BOOT)
const eventLog = encodeCcel(BOOT)
const [RTMR0, RTMR1, RTMR2] = rtmrs.map((value) => value.toString('hex')) as [string, string, string]
const BOOTED: QuoteChanges = { body: { rtmrs } }
const report = quote(own, BOOTED)

const set = (coverage: string, policy: string): string =>
    `name = "web"\ntee = "tdx"\ncoverage = "${coverage}"\n[policy]\nmeasurements = ["${MRTD}"]\n${policy}`
const BOOTED_AS = `rtmr1 = ["${RTMR1}"]\nrtmr2 = ["${RTMR2}"]`
const REGISTERS = `rtmr0 = ["${RTMR0}"]\n${BOOTED_AS}`

for (const { name, text, message } of [
    {
        name: 'MRTD alone',
        text: set(ALL, ''),
        message: /coverage: firmware\+kernel\+initrd\+cmdline is more than .* firmware$/,
    },
    { name: 'RTMR1 alone', text: set(ALL, `rtmr1 = ["${RTMR1}"]`), message: /is more than/ },
    {
        name: 'a register of zeros',
        text: set(ALL, `${REGISTERS.replace(RTMR2, '00'.repeat(48))}`),
        message: /is more than/,
    },
])
    test(`a set does not cover everything: ${name}`, (t) =>
        void t.throws(() => readReference(text, 'set', verifiers), { code: 'ERR_BROKER_REFERENCE', message }))

for (const { name, text } of [
    { name: 'MRTD covers the firmware', text: set('firmware', '') },
    { name: 'registers that are named may be called firmware', text: set('firmware', REGISTERS) },
    { name: 'MRTD, RTMR1 and RTMR2 cover everything', text: set(ALL, REGISTERS) },
])
    test(name, (t) => t.is(readReference(text, 'set', verifiers).name, 'web'))

/** A guest as if the vendor's own root vouched for it. */
const guest = (changes: QuoteChanges = BOOTED, log: Buffer | null = eventLog): Authentic => {
    const evidence = { tee: 'tdx', report: quote(own, changes), ...(log ? { eventLog: log } : {}) }
    return { ...verifier.authenticate(evidence, own.now, new Checks([])), customRoot: false }
}

for (const { name, of = guest(), text = set(ALL, REGISTERS), rule = '', when = '', want } of [
    { name: 'a guest whose boot is known', want: 'r' },
    {
        name: 'a boot that is known, on a machine that is not',
        text: set(ALL, BOOTED_AS),
        want: 'ERR_BROKER_DENIED_FLOOR',
    },
    {
        name: 'the same machine with its switch',
        text: set(ALL, BOOTED_AS),
        rule: '@insecureUnmeasuredMachine',
        want: 'r',
    },
    {
        name: 'a platform that Intel has revoked, with every switch',
        of: guest({ body: { rtmrs, teeTcbSvn: tcbSvn({ microcode: STATUS_SVNS.Revoked }) } }),
        rule: '@insecureAnyStatus @insecureNoReference @insecureUnmeasuredInitrd @insecureUnknownModule',
        want: 'ERR_BROKER_DENIED_REFERENCE',
    },
    {
        name: 'one that is out of date, with these',
        of: guest({ body: { rtmrs, teeTcbSvn: tcbSvn({ microcode: STATUS_SVNS.OutOfDate }) } }),
        rule: '@insecureAnyStatus @insecureNoReference',
        want: 'r',
    },
    {
        name: 'another kernel',
        of: guest({ body: { rtmrs: [rtmrs[0], rtmrs[2], rtmrs[2], rtmrs[3]] } }, null),
        want: 'ERR_BROKER_DENIED_REFERENCE',
    },
    { name: 'a guest whose firmware alone is known', text: set('firmware', ''), want: 'ERR_BROKER_DENIED_FLOOR' },
    { name: 'the same with its switch', text: set('firmware', ''), rule: '@insecureUnmeasuredInitrd', want: 'r' },
    {
        name: 'a debug TD, even where the set allows it',
        of: guest({ body: { rtmrs, tdAttributes: 1n } }),
        text: set(ALL, `${REGISTERS}\ndebug = true`),
        want: 'ERR_BROKER_DENIED_FLOOR',
    },
    {
        name: 'a rule on what was measured',
        when: 'principal.tdx has eventLog && principal.tdx.eventLog.measured.contains("rtmr2 EV_IPL kernel_cmdline: /vmlinuz ro quiet")',
        want: 'r',
    },
    {
        name: 'a rule on another command line',
        when: 'principal.tdx has eventLog && principal.tdx.eventLog has kernelCommandLine && principal.tdx.eventLog.kernelCommandLine like "*init=/bin/sh*"',
        want: 'ERR_BROKER_DENIED_POLICY',
    },
    {
        name: 'a rule on secure boot',
        when: 'principal.tdx has eventLog && principal.tdx.eventLog has secureBoot && principal.tdx.eventLog.secureBoot',
        want: 'r',
    },
    {
        name: 'a rule on a log that was not sent',
        of: guest(BOOTED, null),
        when: 'principal.tdx has eventLog',
        want: 'ERR_BROKER_DENIED_POLICY',
    },
    {
        name: 'a rule on the status',
        when: 'principal.tdx has tcbStatus && principal.tdx.tcbStatus == "UpToDate" && principal.tdx.advisoryIds.isEmpty()',
        want: 'r',
    },
    {
        name: 'a rule on an attribute',
        when: 'principal.tdx.attributes.septVeDisable && !principal.tdx.untrusted',
        want: 'r',
    },
] as { name: string; of?: Authentic; text?: string; rule?: string; when?: string; want: string }[])
    test(`decided: ${name}: ${want}`, (t) => {
        const condition = when ? ` when { principal has tdx && ${when} }` : ''
        const policies = compilePolicies(
            [{ name: 'p', text: `@id("r") ${rule} permit (principal, action, resource)${condition};` }],
            [{ id: tdx.id, title: tdx.title, ...vocabulary }],
        )
        const decision = decide({
            verifier,
            authentic: of,
            target: { path: 'web/disk/root', kind: 'luks-key' },
            references: [readReference(text, 'set', verifiers)],
            policies,
            counts: null,
            now: own.now,
        })
        policies.close()
        t.is(decision.allow ? decision.rule?.id : decision.code, want as never, decision.reason)
    })

/** A broker of TDX guests, whose minted vendor is trusted. */
const broker = (t: ExecutionContext): Promise<Rig> =>
    rig(t, {
        plugin: { ...tdx, verifier: async () => verifier },
        serve: { roots: [named('root', own.certificates.root)] },
    })

test('a token has the log without what may be long in it, and a denial no long value', (t) => {
    const authentic = guest()
    const submods = earClaims(authentic, {
        affirming: false,
        build: 'test',
        runtimeData: { nonce: '', teePubkey: {} as never, additionalEvidence: '' },
        leaveOut: verifier.longClaims ?? [],
    })['submods'] as Record<string, Record<string, Record<string, { eventLog: object }>>>
    const told = submods['cpu0']?.['ear.veraison.annotated-evidence']?.['tdx']
    t.deepEqual(told?.eventLog, { form: 'CCEL', events: 4, secureBoot: true, kernelCommandLine: '/vmlinuz ro quiet' })

    const events = Array.from({ length: 100 }, (_, i) => event('rtmr3', 5, `${i}`))
    const long = guest({ body: { rtmrs: registersOf(events) } }, encodeCcel(events))
    const sets = [readReference(set('firmware', `trustedEvents = { rtmr3 = ["${RTMR0}"] }`), 'set', verifiers)]
    const standing = standingOf(verifier, long, sets, own.now)
    t.deepEqual(
        standing.mismatches.map(({ check }) => check),
        ['trusted-events'],
    )
    const decision = { code: 'ERR_BROKER_DENIED_REFERENCE', standing } as Decision
    t.regex(publicReason(decision, long, verifier), /this guest has eventLog\.digests \(too long to be told\)$/)
})

const add = (at: Rig, body: object) => at.adminJson('POST', '/v1/references/from-eventlog', body)
const LOGGED = { name: 'web', coverage: ALL, eventLog: eventLog.toString('base64') }

test('a set from a log and a measurement knows the guest that boots so', async (t) => {
    const at = await broker(t)
    const { status, body } = await add(at, { ...LOGGED, measurement: MRTD })
    t.is(status, 200, body.toString())
    const text = body.toString()
    for (const line of [
        '# rtmr0 EV_EFI_VARIABLE_DRIVER_CONFIG: SecureBoot (8be4df61-93ca-11d2-aa0d-00e098032b8c) = 01',
        `# rtmr1 EV_EFI_BOOT_SERVICES_APPLICATION: 40 bytes (by name alone; digest ${BOOT[2]?.digest.toString('hex')})`,
        '# rtmr2 EV_IPL: kernel_cmdline: /vmlinuz ro quiet',
        `measurements = ["${MRTD}"]`,
        `rtmr0 = ["${RTMR0}"]`,
        `rtmr2 = ["${RTMR2}"]`,
    ])
        t.true(text.split('\n').includes(line), `${line}\n${text}`)
    // There was no report that anything of this could refuse.
    t.notRegex(text, /NOTE/)
    t.regex(text, /^# minimumTeeTcbSvn = "\.\.\."/m)
    t.regex(text, /^# tdAttributesMask = "\.\.\."/m)
    const reference = readReference(text, 'set', verifiers)
    const checks = new Checks([])
    t.notThrows(() => verifier.appraise(guest(), reference.policy, checks))
    t.throws(() => verifier.appraise(guest({}, null), reference.policy, checks), { code: 'ERR_TDX_POLICY_RTMR' })
})

test('a set from a log and evidence has the registers of the log, and the rest of the guest', async (t) => {
    const at = await broker(t)
    const next = [...BOOT, event('rtmr2', 6, 'the next kernel')]
    const evidence = Buffer.from(stringifyJson(toKbs({ tee: 'tdx', report, eventLog }))).toString('base64')
    const { status, body } = await add(at, { ...LOGGED, eventLog: encodeCcel(next).toString('base64'), evidence })
    t.is(status, 200, body.toString())
    t.true(body.toString().includes(`rtmr2 = ["${registersOf(next)[2].toString('hex')}"]`))
    t.true(body.toString().includes('tdAttributes = ["0000000010000000"]'))
})

for (const { name, changes, says } of [
    { name: 'neither measurement nor evidence', changes: {}, says: /needs the measurement/ },
    {
        name: 'both',
        changes: { measurement: MRTD, evidence: report.toString('base64') },
        says: /needs the measurement/,
    },
    { name: 'a measurement of 47 bytes', changes: { measurement: MRTD.slice(2) }, says: /48 bytes in hex/ },
    { name: 'no base64', changes: { measurement: MRTD, eventLog: '%' }, says: /not base64/ },
    { name: 'no log', changes: { measurement: MRTD, eventLog: 'AAAA' }, says: /event log/ },
    { name: 'evidence that is none', changes: { evidence: 'AAAA' }, says: /not a proof/ },
    {
        name: 'a log that measured no initrd',
        changes: { measurement: MRTD, eventLog: encodeCcel(BOOT.slice(0, 3)).toString('base64') },
        says: /is more than what/,
    },
])
    test(`no set from a log: ${name}`, async (t) => {
        const { status, body } = await add(await broker(t), { ...LOGGED, ...changes })
        t.true(status >= 400 && status < 500, String(status))
        t.regex(body.toString(), says)
    })

test('the command names each event that it trusts', async (t) => {
    const at = await broker(t)
    const path = join(temporaryFolder(t), 'ccel.bin')
    writeFileSync(path, Buffer.concat([eventLog, Buffer.alloc(5000, 0xff)]))
    const command = (...words: string[]) =>
        run('broker', 'reference', 'add', '--from-eventlog', path, ...words, '--data', at.folder)
    const added = await command('--name', 'web', '--coverage', ALL, '--measurement', MRTD.toUpperCase())
    t.is(added.code, 0, added.stderr)
    t.regex(added.stdout, /^# rtmr2 EV_IPL: kernel_cmdline: \/vmlinuz ro quiet$/m)
    t.regex(added.stderr, /web is known/)
    const sent = join(dirname(path), 'evidence.json')
    writeFileSync(sent, stringifyJson(toKbs({ tee: 'tdx', report, eventLog })))
    const taken = ['broker', 'reference', 'add', '--from-eventlog', sent, '--name', 'web', '--coverage', ALL]
    const again = await run(...taken, '--measurement', MRTD, '--data', at.folder)
    t.is(again.stdout, added.stdout, again.stderr)
    const listed = (await run('broker', 'reference', 'list', '--data', at.folder)).stdout
    t.regex(listed, /web +tdx +firmware\+kernel\+initrd\+cmdline +always +2222/)
    for (const words of [
        ['--name', 'web', '--coverage', ALL],
        ['--name', 'web', '--measurement', MRTD],
        ['--name', 'web', '--coverage', ALL, '--measurement', 'xy'],
    ])
        t.is((await command(...words)).code, 2, words.join(' '))
})
