// The commands of a guest in an emulated TD: `detect`, `evidence`, `registers`, and what no TD has. What only a kernel
// shows is tried with each of its interfaces.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { trimLog } from '#drivers/linux/firmware-log.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { GUEST_NEEDS, type GuestRunner, hurriedConfig, type Inside, inOneGuest, UNTOLD } from './inside.ts'
import { guestAttest } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })
const config = hurriedConfig(folder)
const file = (name: string): string => join(folder, name)

const MEASUREMENT = 'c3'.repeat(48)
const TSM = '/sys/kernel/config/tsm/report'
const DEVICE = '/dev/tdx_guest'
const REGISTERS = ['mrtd', 'mrconfigid', 'mrowner', 'mrownerconfig', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3']

const guest =
    (...options: string[]): GuestRunner =>
    (command) =>
        guestAttest(['emulate', '--tee', 'tdx', ...options, '--', ...command], {
            env: { GUEST_ATTEST_CONFIG: config },
            timeoutMs: 170_000,
        })

writeFileSync(file('measured'), 'a file that is measured')
const DIGEST = createHash('sha384').update('a file that is measured').digest()
const OTHER = Buffer.alloc(48, 0x5a)

// What is wrong on the command line, before a guest is looked for.

for (const { name, args, says } of [
    {
        name: 'a privilege level',
        args: ['evidence', '--tee', 'tdx', '--vmpl', '0', '--report-data', 'hex:00'],
        says: /--vmpl: guests of Intel TDX have no privilege levels/,
    },
    {
        name: 'a derived key',
        args: ['derive-key', '--tee', 'tdx', '--label', 'a', '--out', file('key')],
        says: /Argument: tee, Given: "tdx", Choices: "snp"/,
    },
    {
        name: 'the event log among bytes that have no place for it',
        args: ['evidence', '--report-data', 'hex:00', '--event-log', '--format', 'raw'],
        says: /--event-log: it has no place/,
    },
    { name: 'nothing to extend with', args: ['registers', 'extend', 'rtmr3'], says: /one of --digest, --file/ },
    {
        name: 'two things to extend with',
        args: ['registers', 'extend', 'rtmr3', '--digest', '00', '--file', file('measured')],
        says: /one of --digest, --file/,
    },
    {
        name: 'half a byte to extend with',
        args: ['registers', 'extend', 'rtmr3', '--digest', '012'],
        says: /--digest: expected hex digits/,
    },
])
    test(`refused: ${name}`, async (t) => {
        const { code, stdout, stderr } = await guestAttest(args, { env: { GUEST_ATTEST_CONFIG: config } })
        t.is(code, 2, stderr)
        t.is(stdout, '')
        t.regex(stderr, says)
        t.false(existsSync(file('key')))
    })

test('no guest: no registers', async (t) => {
    const ran = await guestAttest(['registers', 'list'], { env: { GUEST_ATTEST_CONFIG: config } })
    t.is(ran.code, 1)
    t.regex(ran.stderr, /this machine is no guest of .*Intel TDX.*\(ERR_NO_TEE\)/)
})

interface Case extends Inside {
    readonly code?: number
    readonly says?: RegExp
}

const evidence = (name: string, ...more: string[]) => ({
    args: ['evidence', '--report-data', 'hex:5e5e', '--out', file(name), ...more],
})

const DETECT = { args: ['detect', '--json'] }
const BY_IOCTL = { args: ['detect', '--json', '--via', 'ioctl'] }
const TEXT = { args: ['detect'] }
const RAW = evidence('raw', '--format', 'raw')
const RAW_IOCTL = evidence('raw-ioctl', '--format', 'raw', '--via', 'ioctl')
const PLAIN = evidence('plain.json')
const LOGGED = evidence('logged.json', '--event-log')
const FIRST = { args: ['registers', 'list', '--json'] }
const EXTENDED = { args: ['registers', 'extend', 'rtmr3', '--file', file('measured'), '--json'] }
const AGAIN = { args: ['registers', 'extend', 'rtmr3', '--digest', OTHER.toString('hex')] }
const LAST = { args: ['registers', 'list'] }
const AFTER = evidence('after', '--format', 'raw')
const LATE = evidence('late.json', '--event-log')
const REFUSED: Case[] = [
    { args: ['detect', '--via', 'vsock'], code: 2, says: /ERR_VIA[\s\S]*tdx-attest\.conf/ },
    { args: ['detect', '--tee', 'snp'], code: 1, says: /^[^(]*$/ },
    {
        args: ['evidence', '--tee', 'snp', '--report-data', 'hex:00'],
        code: 1,
        says: /no guest of AMD SEV-SNP: it is one of Intel TDX \(ERR_NO_TEE\)\n {2}hint: (?!.*emulate)/,
    },
    { args: ['evidence', '--report-data', 'hex:00', '--vmpl', '0'], code: 2, says: /have no privilege levels/ },
    { args: ['derive-key', '--label', 'a', '--out', file('key')], code: 1, says: /no derived keys.*ERR_NO_TEE/ },
    { args: ['registers', 'extend', 'mrtd', '--file', file('measured')], code: 2, says: /mrtd is fixed.*ERR_REGISTER/ },
    {
        args: ['registers', 'extend', 'rtmr1', '--file', file('measured')],
        code: 2,
        says: /rtmr1 belongs to the firmware.*ERR_USAGE\)\n {2}hint: rtmr2 and rtmr3/,
    },
    { args: ['registers', 'extend', 'rtmr9', '--file', file('measured')], code: 2, says: /hint: there are mrtd, / },
    { args: ['registers', 'extend', 'rtmr3', '--digest', '00'], code: 2, says: /digest of 48 bytes, got 1/ },
    { args: ['registers', 'extend', 'rtmr3', '--file', file('none')], code: 2, says: /ERR_NOT_FOUND_FILE/ },
    { args: ['detect'], env: UNTOLD, code: 1, says: /is not on configfs: .*\(ERR_DEVICE_KIND\)/ },
    { args: ['detect', '--via', 'ioctl'], env: UNTOLD, code: 1, says: /not a character device.*\(ERR_DEVICE_KIND\)/ },
]

const ended = inOneGuest(guest('--measurement', MEASUREMENT), [
    DETECT,
    BY_IOCTL,
    TEXT,
    RAW,
    RAW_IOCTL,
    PLAIN,
    LOGGED,
    FIRST,
    EXTENDED,
    AGAIN,
    LAST,
    AFTER,
    LATE,
    ...REFUSED,
])

for (const { command, via, path, found } of [
    { command: DETECT, via: 'configfs', path: TSM, found: 'tdx_guest' },
    { command: BY_IOCTL, via: 'ioctl', path: DEVICE, found: 'a device that makes quotes' },
])
    possible(`in a TD: ${command.args.join(' ')}`, async (t) => {
        const { code, stdout, stderr } = await ended(command)
        t.is(code, 0, stderr)
        const { registers, ...rest } = JSON.parse(stdout)
        const can = ['evidence', 'registers', 'event-log']
        t.deepEqual(rest, { tee: 'tdx', via, path, tried: [{ via, path, found }], can })
        t.deepEqual(
            registers.map(({ name }: { name: string }) => name),
            REGISTERS,
        )
        t.like(registers[0], { algorithm: 'sha384', value: MEASUREMENT, extensible: false })
    })

possible('in a TD: detect', async (t) => {
    const { stdout } = await ended(TEXT)
    t.regex(stdout, /^technology +tdx\ninterface +configfs .*\ncan +evidence, registers, event-log\nregisters +mrtd, /)
})

for (const one of [RAW, RAW_IOCTL])
    possible(`in a TD: a quote and nothing behind it, ${one.args.at(-1)}`, async (t) => {
        const { code, stderr } = await ended(one)
        t.is(code, 0, stderr)
        const bytes = readFileSync(one.args[4] ?? '')
        const { size, body } = parseQuote(bytes)
        t.is(bytes.length, size)
        t.is(body.reportData.toString('hex'), '5e5e'.padEnd(128, '0'))
        t.is(body.mrTd.toString('hex'), MEASUREMENT)
    })

possible('in a TD: the event log where it is asked for', async (t) => {
    for (const one of [PLAIN, LOGGED]) {
        const { code, stderr } = await ended(one)
        t.is(code, 0)
        t.notRegex(stderr, /without an entry/)
    }
    t.regex((await ended(LATE)).stderr, /rtmr3 was extended without an entry in the event log/)
    const read = (name: string) => JSON.parse(readFileSync(file(name), 'utf8'))
    t.is(read('plain.json').cc_eventlog, null)
    const log = Buffer.from(read('logged.json').cc_eventlog, 'base64')
    t.true(log.length > 100)
    t.deepEqual(trimLog(log), log)
})

possible('in a TD: a register is extended by a file, then by a digest, and quotes carry it', async (t) => {
    const rtmr3 = (all: { name: string; value: string }[]) => all.find(({ name }) => name === 'rtmr3')?.value ?? ''
    const before = Buffer.from(rtmr3(JSON.parse((await ended(FIRST)).stdout)), 'hex')
    const hash = (value: Buffer, by: Buffer) => createHash('sha384').update(value).update(by).digest()
    const once = hash(before, DIGEST)
    const twice = hash(once, OTHER)
    const first = await ended(EXTENDED)
    t.is(first.code, 0, first.stderr)
    t.deepEqual(JSON.parse(first.stdout), {
        name: 'rtmr3',
        algorithm: 'sha384',
        value: once.toString('hex'),
        extensible: true,
        extendedWith: DIGEST.toString('hex'),
    })
    t.is((await ended(AGAIN)).stdout, `rtmr3 ${twice.toString('hex')}\n`)
    t.regex((await ended(LAST)).stdout, new RegExp(`^rtmr3 +extensible +${twice.toString('hex')}$`, 'm'))
    t.is((await ended(AFTER)).code, 0)
    t.deepEqual(parseQuote(readFileSync(file('after'))).body.rtmrs[3], twice)
})

for (const refused of REFUSED)
    possible(
        `in a TD, refused: ${refused.args.join(' ').replaceAll(folder, '')}${refused.env ? ', untold' : ''}`,
        async (t) => {
            const { code, stderr } = await ended(refused)
            t.is(code, refused.code ?? 1, stderr)
            t.regex(stderr, refused.says ?? /./)
            t.false(existsSync(file('key')))
        },
    )

const MISLED: Case[] = [
    { args: ['detect', '--tee', 'tdx'] },
    { args: ['evidence', '--tee', 'tdx', '--report-data', 'hex:00', '--via', 'configfs', '--out', file('misled')] },
]
const misled = inOneGuest(guest('--provider', 'sev_guest'), MISLED)

for (const one of MISLED)
    possible(`SNP’s provider in a TD is refused by name: ${one.args[0]}`, async (t) => {
        const { code, stderr } = await misled(one)
        t.is(code, 1)
        t.regex(stderr, /sev_guest answers in .* instead of tdx_guest \(ERR_TSM_PROVIDER\)/)
        t.false(existsSync(file('misled')))
    })
