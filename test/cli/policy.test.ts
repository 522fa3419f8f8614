// `policy init`: what it writes from a proof, which proofs pass that, and what is refused. The proofs are signed by a
// minted vendor.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { SNP_POLICY } from '#plugins/snp/policy.ts'
import type { Report } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { report, table, vendor } from '#test/plugins/snp/minted.ts'
import { guestAttest } from './run.ts'

const genoa = await vendor('genoa')

const folder = temporaryFolder({ teardown: test.after.always })
const write = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content)
    return join(folder, name)
}

const TRUST = [
    '--trust-root',
    write('ark.der', genoa.certificates.ark),
    '--collateral',
    write('list.crl', genoa.list),
] as const

/** A file with a report of which some fields are others. */
let written = 0
const proof = (changed: Partial<Report> = {}): string =>
    write(`proof-${++written}.bin`, Buffer.concat([report(genoa, changed), table(genoa)]))

const init = (...args: string[]) => guestAttest(['policy', 'init', ...TRUST, ...args])

/** One policy for all that only read it. */
const policy = join(folder, 'web.toml')
const initialised = init('--from', proof(), '--out', policy)

/** The verdict of `verify --policy` on a report with these fields. */
async function verdictOf(changed: Partial<Report>, toml: string): Promise<string> {
    const { stdout, stderr } = await guestAttest(['verify', proof(changed), ...TRUST, '--policy', toml, '--json'])
    if (!stdout) return stderr
    const { verdict, code } = JSON.parse(stdout)
    return code ?? verdict
}

test('it is written for others to read, and every member is there', async (t) => {
    const { code, stdout, stderr } = await initialised
    t.is(code, 0, stderr)
    t.is(stdout, '')
    t.regex(stderr, /this policy was written from an EMULATED guest/)
    t.is(statSync(policy).mode & 0o777, 0o644)
    const text = readFileSync(policy, 'utf8')
    t.is((await init('--from', proof())).stdout, text)
    t.true(text.includes(`\nmeasurements = ["${'22'.repeat(48)}"]\n`))
    for (const line of ['debug = false', 'migration = false', 'maxVmpl = 0', 'signingKeys = ["VCEK"]'])
        t.true(text.includes(`\n${line}\n`), line)
    // As a line, in a comment where it is left out, or as a table.
    for (const member of Object.keys(SNP_POLICY.schema.shape))
        t.regex(text, new RegExp(`^(?:(?:# )?${member} = .+|\\[${member}\\..+\\])$`, 'm'))
    t.notRegex(text, /NOTE/)
})

for (const { name, changed = {}, want = 'accepted' } of [
    { name: 'the report that it was written from' },
    { name: 'another launch of it', changed: { reportId: Buffer.alloc(32, 9), reportData: Buffer.alloc(64, 9) } },
    { name: 'another measurement', changed: { measurement: Buffer.alloc(48, 9) }, want: 'ERR_SNP_POLICY_MEASUREMENT' },
    { name: 'other host data', changed: { hostData: Buffer.alloc(32, 9) }, want: 'ERR_SNP_POLICY_HOST_DATA' },
    { name: 'debugging allowed', changed: { policy: 0xb0000n }, want: 'ERR_SNP_POLICY_DEBUG' },
    { name: 'migration allowed', changed: { policy: 0x70000n }, want: 'ERR_SNP_POLICY_MIGRATION' },
    { name: 'VMPL 1', changed: { vmpl: 1 }, want: 'ERR_SNP_POLICY_VMPL' },
    { name: 'no alias check', changed: { platformInfo: 0x05n }, want: 'ERR_SNP_POLICY_PLATFORM' },
] as { name: string; changed?: Partial<Report>; want?: string }[])
    test(`the policy of one report, and ${name}: ${want}`, async (t) => {
        await initialised
        t.is(await verdictOf(changed, policy), want)
    })

for (const { name, changed, note, opened, want } of [
    {
        name: 'debugging',
        changed: { policy: 0xb0000n },
        note: /^# NOTE: .* is refused by it: debug\.$/m,
        opened: ['debug = false', 'debug = true'],
        want: 'ERR_SNP_POLICY_DEBUG',
    },
    {
        name: 'migration',
        changed: { policy: 0x70000n },
        note: /^# NOTE: .* is refused by it: migration\.$/m,
        opened: ['migration = false', 'migration = true'],
        want: 'ERR_SNP_POLICY_MIGRATION',
    },
    {
        name: 'VMPL 2',
        changed: { vmpl: 2 },
        note: /^# NOTE: .* is refused by it: maxVmpl\.$/m,
        opened: ['maxVmpl = 0', 'maxVmpl = 2'],
        want: 'ERR_SNP_POLICY_VMPL',
    },
    {
        name: 'no protection of the platform',
        changed: { platformInfo: 0x01n },
        note: /^# NOTE: .* is refused by it: requiredPlatform\.$/m,
        opened: ['requiredPlatform = [', '# requiredPlatform = ['],
        want: 'ERR_SNP_POLICY_PLATFORM',
    },
] as { name: string; changed: Partial<Report>; note: RegExp; opened: [string, string]; want: string }[])
    test(`a report that is not strict itself: ${name} must be allowed by hand`, async (t) => {
        const { code, stdout, stderr } = await init('--from', proof(changed))
        t.is(code, 0, stderr)
        t.regex(stdout, note)
        t.is(await verdictOf(changed, write(`strict-${name}.toml`, stdout)), want)
        const byHand = stdout.replace(...opened)
        t.not(byHand, stdout)
        t.is(await verdictOf(changed, write(`open-${name}.toml`, byHand)), 'accepted')
    })

for (const { name, edit, says } of [
    { name: 'an unknown member', edit: (text: string) => `measurement = ["00"]\n${text}`, says: /"measurement"/ },
    { name: 'a member in another case', edit: (text: string) => text.replace('debug =', 'Debug ='), says: /"Debug"/ },
    {
        name: 'an unknown part of the TCB',
        edit: (text: string) => `${text}ucode = 1\n`,
        says: /minimumTcb\.Genoa.*"ucode"/,
    },
    {
        name: 'a part of the TCB taken out',
        edit: (text: string) => text.replace(/^microcode = .*$/m, ''),
        says: /minimumTcb\.Genoa\.microcode/,
    },
    {
        name: 'a list that is empty',
        edit: (text: string) => text.replace(/^measurements = .*$/m, 'measurements = []'),
        says: /measurements/,
    },
    { name: 'no TOML', edit: (text: string) => `${text}[\n`, says: /\.toml:\d+:\d+: .*ERR_CONFIG/ },
    { name: 'another technology', edit: (text: string) => text.replace('tee = "snp"', 'tee = "tdx"'), says: /tee/ },
])
    test(`verify refuses a policy with ${name}`, async (t) => {
        await initialised
        const path = write(`${name}.toml`, edit(readFileSync(policy, 'utf8')))
        const { code, stdout, stderr } = await guestAttest(['verify', proof(), ...TRUST, '--policy', path])
        t.is(code, 2, stdout)
        t.is(stdout, '')
        t.regex(stderr, says)
        t.true(stderr.includes(path.slice(folder.length)), stderr)
    })

test('measurements are named in one place', async (t) => {
    await initialised
    const words = ['--policy', policy, '--measurement', '22'.repeat(48)]
    const { code, stderr } = await guestAttest(['verify', proof(), ...TRUST, ...words])
    t.is(code, 2)
    t.regex(stderr, /--measurement and the measurements of --policy/)
})

const forged = report(genoa)
forged[0x90] = 9 // the measurement
const there = write('there.toml', 'mine')

for (const { name, args, code, says } of [
    {
        name: 'a report that nobody signed',
        args: [...TRUST, '--from', write('forged.bin', Buffer.concat([forged, table(genoa)]))],
        code: 1,
        says: /ERR_SNP_SIGNATURE/,
    },
    { name: "a root that is not the vendor's", args: ['--offline', '--from', proof()], code: 1, says: /ERR_SNP_/ },
    {
        name: 'no revocation list',
        args: TRUST.slice(0, 2).concat('--from', proof()),
        code: 3,
        says: /ERR_SNP_CRL_MISSING/,
    },
    { name: 'what is no proof', args: [...TRUST, '--from', there], code: 1, says: /ERR_EVIDENCE_UNKNOWN/ },
    {
        name: 'a time before it was made',
        args: [...TRUST, '--from', proof(), '--at', '2001-01-01'],
        code: 1,
        says: /ERR_SNP_TIME/,
    },
    { name: 'a file that is not there', args: [...TRUST, '--from', '/nowhere'], code: 2, says: /no such file/ },
])
    test(`nothing is written from ${name}`, async (t) => {
        const out = join(folder, `${name}.out`)
        const ran = await guestAttest(['policy', 'init', ...args, '--out', out])
        t.is(ran.code, code, ran.stderr)
        t.is(ran.stdout, '')
        t.regex(ran.stderr, says)
        t.false(existsSync(out))
    })

for (const { name, out, says } of [
    { name: 'a file that is there', out: there, says: /is there already[\s\S]*hint: nothing is overwritten/ },
    { name: 'a folder', out: folder, says: /is there already/ },
    { name: 'a file in no folder', out: join(folder, 'none/x'), says: /there is no folder/ },
])
    test(`nothing is written to ${name}`, async (t) => {
        const { code, stdout, stderr } = await init('--from', proof(), '--out', out)
        t.is(code, 2, stderr)
        t.is(stdout, '')
        t.regex(stderr, says)
        t.is(readFileSync(there, 'utf8'), 'mine')
        t.deepEqual(
            readdirSync(folder).filter((entry) => entry.startsWith('.')),
            [],
        )
    })
