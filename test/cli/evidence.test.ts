// `detect` and `evidence`: what they say where there is no guest, what they make in an emulated one, and what `verify`
// and `inspect` say of that.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test from 'ava'
import { parseReport } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { EMULATED_DEVICE, emulatedGuest, GUEST_NEEDS, hurriedConfig, inOneGuest, UNTOLD } from './inside.ts'
import { guestAttest } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })
const config = hurriedConfig(folder)
const vendor = join(folder, 'vendor')
const MEASUREMENT = 'c3'.repeat(48)
const GUEST = ['--trust-dir', vendor, '--generation', 'genoa', '--measurement', MEASUREMENT]

const file = (name: string): string => join(folder, name)
const NONCE = `hex:${'5e'.repeat(32)}`
const TSM = '/sys/kernel/config/tsm/report'
const DEVICE = '/dev/sev-guest'
const EMULATED = /^guest-attest: the guest is emulated: what it says proves nothing$/m

// Where there is no guest.

for (const { args, stdout, says } of [
    { args: ['detect'], stdout: 'no confidential guest\n', says: /^$/ },
    { args: ['detect', '--json'], stdout: '{"tee":null}\n', says: /^$/ },
    { args: ['detect', '--tee', 'snp', '--via', 'ioctl', '--json'], stdout: '{"tee":null}\n', says: /^$/ },
    {
        args: ['evidence', '--nonce', NONCE, '--out', file('nowhere')],
        stdout: '',
        says: /this machine is no guest of AMD SEV-SNP.* \(ERR_NO_TEE\)\n {2}hint: .*doctor.*emulate/,
    },
])
    test(`no guest: ${args.join(' ').replace(folder, '')}`, async (t) => {
        // The variable alone makes no guest of a machine.
        for (const emulated of [undefined, '1']) {
            const ran = await guestAttest(args, { env: { GUEST_ATTEST_CONFIG: config, [EMULATED_DEVICE]: emulated } })
            t.is(ran.code, 1, ran.stderr)
            t.is(ran.stdout, stdout)
            t.regex(ran.stderr, says)
        }
        t.false(existsSync(file('nowhere')))
    })

// What is wrong on the command line is said before a guest is looked for.

writeFileSync(file('there'), 'mine')
writeFileSync(file('long'), Buffer.alloc(65))
writeFileSync(file('twice.json'), '{"a":1,"a":2}')

for (const { name, args, code = 2, says } of [
    {
        name: 'nothing to bind',
        args: [],
        says: /name what to bind: only one of --report-data, --nonce, --runtime-data/,
    },
    { name: 'two things to bind', args: ['--nonce', NONCE, '--report-data', 'hex:00'], says: /name what to bind/ },
    { name: 'empty report data', args: ['--report-data', 'hex:'], says: /1 to 64 bytes, got 0/ },
    { name: '65 bytes', args: ['--report-data', `hex:${'00'.repeat(65)}`], says: /1 to 64 bytes, got 65/ },
    { name: '65 bytes in a file', args: ['--report-data', `@${file('long')}`], says: /1 to 64 bytes, got 65/ },
    { name: 'a nonce of 15 bytes', args: ['--nonce', `hex:${'00'.repeat(15)}`], says: /16 to 64 bytes, got 15/ },
    { name: 'a nonce of 65 bytes', args: ['--nonce', `@${file('long')}`], says: /1 to 64 bytes, got 65/ },
    {
        name: 'half a byte',
        args: ['--report-data', 'hex:012'],
        says: /--report-data: expected hex digits, two for each byte/,
    },
    { name: 'no base64', args: ['--report-data', 'b64:*'], says: /--report-data: .*base64/ },
    { name: 'bytes without their form', args: ['--nonce', '00'], says: /expected hex:…, b64:… or @FILE, got "00"/ },
    { name: 'a file that is not there', args: ['--nonce', '@/nowhere'], says: /\/nowhere: no such file/ },
    {
        name: 'JSON with a key twice',
        args: ['--runtime-data', file('twice.json')],
        says: /--runtime-data: .*"a".*ERR_USAGE/,
    },
    {
        name: 'an interface that there is not',
        args: ['--report-data', 'hex:00', '--via', 'vtpm'],
        says: /Given: "vtpm", Choices: "configfs", "ioctl"/,
    },
    { name: 'a form that there is not', args: ['--report-data', 'hex:00', '--format', 'pem'], says: /"kbs", "raw"/ },
    {
        name: 'a file that is there',
        args: ['--report-data', 'hex:00', '--out', file('there')],
        says: /there is there already[\s\S]*hint: nothing is overwritten/,
    },
    {
        name: 'a file in no folder',
        args: ['--report-data', 'hex:00', '--out', file('none/x')],
        says: /there is no folder/,
    },
    { name: 'standard output by its dash', args: ['--report-data', 'hex:00', '--out', '-'], says: /expected a file/ },
])
    test(`evidence, refused: ${name}`, async (t) => {
        const ran = await guestAttest(['evidence', ...args], { env: { GUEST_ATTEST_CONFIG: config } })
        t.is(ran.code, code, ran.stderr)
        t.is(ran.stdout, '')
        t.regex(ran.stderr, says)
        t.is(readFileSync(file('there'), 'utf8'), 'mine')
    })

// In a guest: its devices, and the same guest to a program that was not told that a device may be emulated.

const found = (via: string, path: string, what: string) => ({ via, path, found: what })
const can = ['evidence', 'derive-key']

const DETECTED = [
    {
        args: ['detect', '--json'],
        want: { tee: 'snp', via: 'configfs', path: TSM, tried: [found('configfs', TSM, 'sev_guest')], can },
    },
    {
        args: ['detect', '--json', '--via', 'ioctl'],
        want: { tee: 'snp', via: 'ioctl', path: DEVICE, tried: [found('ioctl', DEVICE, 'a device')], can },
    },
    {
        args: ['detect'],
        stdout: new RegExp(`^technology +snp\ninterface +configfs \\(${TSM}\\)\ncan +evidence, derive-key\n`),
    },
]

const REFUSED = [
    { args: ['detect', '--json'], env: UNTOLD, says: /report is not on configfs: .*\(ERR_DEVICE_KIND\)/ },
    {
        args: ['detect', '--via', 'ioctl'],
        env: UNTOLD,
        says: /sev-guest is not a character device.*\(ERR_DEVICE_KIND\)/,
    },
    { args: ['evidence', '--nonce', NONCE], env: UNTOLD, says: /ERR_DEVICE_KIND/ },
    { args: ['evidence', '--nonce', NONCE, '--via', 'ioctl'], env: UNTOLD, says: /ERR_DEVICE_KIND/ },
    { args: ['evidence', '--nonce', NONCE, '--vmpl', '4'], code: 1, says: /ERR_DEVICE_REQUEST[\s\S]*hint: .*--vmpl/ },
    {
        args: ['evidence', '--nonce', NONCE, '--vmpl', '4', '--via', 'ioctl'],
        code: 3,
        says: /ERR_SEV_FW_INVALID_PARAM[\s\S]*hint: .*--vmpl/,
    },
]

const PROOFS = [
    { name: 'a nonce', bind: ['--nonce', NONCE], reportData: '5e'.repeat(32) },
    { name: 'a nonce of 16 bytes', bind: ['--nonce', `hex:${'11'.repeat(16)}`], reportData: '11'.repeat(16) },
    { name: 'report data in base64', bind: ['--report-data', 'b64:/w=='], reportData: 'ff' },
    {
        name: 'report data of a file',
        bind: ['--report-data', `@${file('there')}`],
        reportData: Buffer.from('mine').toString('hex'),
    },
    {
        name: 'JSON in its canonical form',
        bind: ['--runtime-data', file('runtime.json')],
        // printf '{"a":1,"b":[true]}' | sha384sum
        reportData: '04106682f9c3f9b0bb6ebe217ec5b62427c7f1cf24ee956c00a42b2fa5cfb98b024b6f1c5a8f303b8134b5ca575ead6a',
    },
    { name: 'through configfs', bind: ['--report-data', 'hex:01', '--via', 'configfs'], reportData: '01' },
    { name: 'through the ioctl', bind: ['--report-data', 'hex:02', '--via', 'ioctl'], reportData: '02' },
    { name: 'VMPL 1', bind: ['--report-data', 'hex:03', '--vmpl', '1'], reportData: '03', vmpl: 1 },
].map(({ bind, vmpl = 0, ...row }, i) => {
    const path = file(`proof-${i}`)
    return { ...row, vmpl, path, args: ['evidence', ...bind, '--format', i % 2 === 0 ? 'kbs' : 'raw', '--out', path] }
})

writeFileSync(file('runtime.json'), '{ "b": [true],\n  "a": 1.0 }')

const again = { args: PROOFS[0]?.args ?? [] }
const json = { args: ['evidence', '--nonce', NONCE] }
const bytes = { args: ['evidence', '--nonce', NONCE, '--format', 'raw'] }

const ended = inOneGuest(emulatedGuest(GUEST, config), [...DETECTED, ...REFUSED, ...PROOFS, again, json, bytes])

for (const detected of DETECTED)
    possible(`in a guest: ${detected.args.join(' ')}`, async (t) => {
        const { code, stdout, stderr } = await ended(detected)
        t.is(code, 0, stderr)
        t.regex(stderr, EMULATED)
        if (detected.want) t.deepEqual(JSON.parse(stdout), detected.want)
        else t.regex(stdout, detected.stdout)
    })

for (const refused of REFUSED)
    possible(
        `in a guest, refused: ${refused.args.join(' ')}${refused.env ? `, without ${EMULATED_DEVICE}` : ''}`,
        async (t) => {
            const { code, stdout, stderr } = await ended(refused)
            t.is(code, refused.code ?? 1, stderr)
            t.is(stdout, '')
            t.regex(stderr, refused.says)
            t.is(EMULATED.test(stderr), !refused.env)
        },
    )

const TRUSTING = ['--trust-root', join(vendor, 'ark.pem'), '--collateral', vendor]

for (const proof of PROOFS)
    possible(`evidence binds ${proof.name}`, async (t) => {
        const { path, reportData, vmpl } = proof
        const { code, stdout, stderr } = await ended(proof)
        t.is(code, 0, stderr)
        t.is(stdout, '')
        t.regex(stderr, EMULATED)
        t.is(statSync(path).mode & 0o777, 0o644)
        const expected = ['--report-data', `hex:${reportData}`, '--measurement', MEASUREMENT, '--json']
        const verified = await guestAttest(['verify', path, ...TRUSTING, ...expected])
        const { verdict, code: why, claims } = JSON.parse(verified.stdout)
        t.is(verdict, vmpl === 0 ? 'accepted' : 'rejected', verified.stdout)
        t.is(why, vmpl === 0 ? undefined : 'ERR_SNP_POLICY_VMPL')
        t.like(claims, { emulated: true, productLine: 'Genoa', measurement: MEASUREMENT, vmpl })
    })

possible('what is there already is not overwritten, and nothing else is left', async (t) => {
    const { code, stderr } = await ended(again)
    t.is(code, 2)
    t.regex(stderr, /proof-0 is there already/)
    const proofs = PROOFS.map(({ path }) => basename(path))
    const names = [basename(config), 'long', 'runtime.json', 'there', 'twice.json', 'vendor', ...proofs]
    t.deepEqual(
        readdirSync(folder).filter((name) => !names.includes(name)),
        [],
    )
})

possible('on standard output: one line of JSON, or the bytes; inspect says the same of both', async (t) => {
    const printed = await ended(json)
    t.regex(printed.stdout, /^\{.*\}\n$/)
    const raw = Buffer.from((await ended(bytes)).stdout, 'latin1')
    t.is(parseReport(raw.subarray(0, 1184)).reportData.toString('hex'), '5e'.repeat(32).padEnd(128, '0'))
    const fields = async (input: string | Buffer) => {
        const { code, stdout, stderr } = await guestAttest(['inspect', '-', '--json'], { input })
        t.is(code, 0, stderr)
        const { fields, ...rest } = JSON.parse(stdout)
        t.like(rest, { tee: 'snp', verified: false })
        return fields.filter(({ name }: { name: string }) => !name.startsWith('signature')) // another one each time
    }
    const said = await fields(raw)
    t.true(said.some(({ value }: { value: string }) => value === MEASUREMENT))
    t.deepEqual(await fields(printed.stdout), said)
})
