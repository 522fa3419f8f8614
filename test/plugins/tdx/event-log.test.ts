// Event logs: those of real machines, each parsed or refused by name, and replayed to the quote that came with it; what
// each type of event proves; logs that are cut, swapped, and of nothing.
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { AttestError } from '#core/errors.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import { encodeCcel, parseCcel } from '#plugins/tdx/event-log/ccel.ts'
import { logClaims } from '#plugins/tdx/event-log/claims.ts'
import { checkEventLog, parseEventLog } from '#plugins/tdx/event-log/event-log.ts'
import { measuredOf, textOf } from '#plugins/tdx/event-log/event-types.ts'
import { defaultBody } from '#plugins/tdx/mint/quote.ts'
import { parseQuote } from '#plugins/tdx/quote.ts'
import { VECTORS, vectors } from '../../machine.ts'
import { needs } from '../../needs.ts'
import { BOOT, COMMAND_LINE, type Event, event, GLOBAL, registersOf, sha384, variable, words } from './boot.ts'

const FOLDER = 'snp-tdx/eventlog'
const read = (path: string): Buffer => readFileSync(join(VECTORS, 'snp-tdx', path))

/** Events, and how many of them hold what was measured; or what it is instead. */
const REAL: Readonly<Record<string, readonly [number, number] | RegExp>> = {
    'attestation-rs--tdx_ccel_live.bin': [20, 12],
    'cc-trusted-api--ccel_data.bin': [98, 73],
    'cc-trusted-api--formated_el.txt': /this is text/,
    'cc-trusted-api--ima_log.bin': /this is text/,
    'go-eventlog--ccel-CCEL.bin': /the ACPI table CCEL/,
    'go-eventlog--ccel-CCEL_unpadded.data.bin': [19, 12],
    'go-eventlog--ccel-cos-113-intel-tdx-dupe-separator-unpadded.bin': [43, 31],
    'go-eventlog--ccel-cos-113-intel-tdx-dupe-separator.bin': [43, 31],
    'go-eventlog--ccel-event_log.bin': [27, 18],
    'go-tdx-guest--ccel-ccel_data.dat': [43, 31],
    'go-tdx-guest--ccel-ccel_table.dat': /the ACPI table CCEL/,
    'go-tpm-tools--cos-101-amd-sev.bin': /the log of a TPM, with digests of SHA-1 or SHA-256/,
    'go-tpm-tools--debian-10.bin': /the log of a TPM with digests of SHA-1 alone/,
    'go-tpm-tools--eventlogwithsp800155.bin': /the log of a TPM/,
    'go-tpm-tools--ubuntu-2404-amd-sevsnp.bin': /the log of a TPM/,
    'trustee--CCEL_AAEL_alibabacloud': [87, 73],
    'trustee--CCEL_AAEL_alibabacloud_out.json': /a JSON text of another kind/,
    'trustee--CCEL_data': [5, 2],
    'trustee--CCEL_data_gcp': [21, 14],
    'trustee--CCEL_data_grub': [37, 19],
    'trustee--CCEL_data_grub_gke': [35, 20],
    'trustee--CCEL_data_grub_gke_out.json': /a JSON text of another kind/,
    'trustee--CCEL_data_grub_out.json': /a JSON text of another kind/,
    'trustee--CCEL_data_out.json': /a JSON text of another kind/,
    'trustee--CCEL_data_ovmf': [20, 12],
    'trustee--CCEL_data_ovmf_out.json': /a JSON text of another kind/,
}

for (const [name, want] of Object.entries(REAL))
    needs(vectors(`${FOLDER}/${name}`))(`real: ${name}`, (t) => {
        const raw = read(`eventlog/${name}`)
        if (want instanceof RegExp) {
            t.throws(() => parseEventLog(raw), { code: 'ERR_TDX_EVENT_LOG', message: want })
            return
        }
        const { events, form } = parseEventLog(raw)
        t.deepEqual([events.length, events.filter(({ proven }) => proven).length], [...want])
        t.is(form, 'CCEL')
        // Nothing but the name of its vendor is lost.
        const encoded = encodeCcel(events)
        if (!name.endsWith('CCEL_data')) t.deepEqual(encoded, raw.subarray(0, encoded.length))
    })

needs(vectors(FOLDER))('no real log is left out', (t) => {
    const left = readdirSync(join(VECTORS, FOLDER)).filter((name) => !Object.hasOwn(REAL, name))
    t.deepEqual(left, [])
})

const QUOTED: readonly { name: string; quote: string; log: string; want: RegExp | null }[] = [
    {
        name: 'a machine of Google’s, booted by GRUB',
        quote: 'tdx/go-tdx-guest--ccel-cos-113-tdx-quote.dat',
        log: 'eventlog/go-tdx-guest--ccel-ccel_data.dat',
        want: null,
    },
    {
        name: 'a guest of dstack',
        quote: 'derived/tdx-dstack-report.quote.bin',
        log: 'derived/tdx-dstack-report.eventlog.json',
        want: null,
    },
    {
        name: 'a guest of dstack that leaves out what follows from its events',
        quote: 'derived/tdx-dstack-lite.quote.bin',
        log: 'derived/tdx-dstack-lite.eventlog.json',
        want: null,
    },
    {
        name: 'a log of another boot',
        quote: 'tdx/attestation-rs--tdx_quote_live.dat',
        log: 'eventlog/attestation-rs--tdx_ccel_live.bin',
        want: /^rtmr2: /,
    },
    {
        name: 'a guest in which IMA extends RTMR2 too',
        quote: 'tdx/cc-trusted-api--quote.bin',
        log: 'eventlog/cc-trusted-api--ccel_data.bin',
        want: /^rtmr2: /,
    },
    {
        name: 'another guest',
        quote: 'derived/tdx-dstack-report.quote.bin',
        log: 'eventlog/go-tdx-guest--ccel-ccel_data.dat',
        want: /^rtmr0: /,
    },
]

for (const { name, quote, log, want } of QUOTED)
    needs(vectors(`snp-tdx/${quote}`, `snp-tdx/${log}`))(
        `real: ${want ? 'does not replay' : 'replays'}: ${name}`,
        (t) => {
            const check = () => checkEventLog(read(log), parseQuote(read(quote)))
            if (want) t.throws(check, { code: 'ERR_TDX_EVENT_LOG', message: want })
            else t.regex(check().detail, /^\d+ events replay to RTMR0 to RTMR3, \d+ with what was measured$/)
        },
    )

needs(vectors(`${FOLDER}/go-tdx-guest--ccel-ccel_data.dat`))('real: what a boot by GRUB claims', (t) => {
    const claims = logClaims(parseEventLog(read('eventlog/go-tdx-guest--ccel-ccel_data.dat')))
    t.is(claims['secureBoot'], false)
    t.regex(String(claims['kernelCommandLine']), /^\/syslinux\/vmlinuz\.A init=\/usr\/lib\/systemd\/systemd /)
    t.true((claims['measured'] as string[]).includes('rtmr2 EV_IPL grub_cmd: set timeout=0'))
})

const EV = {
    separator: 4,
    tag: 6,
    ipl: 0xd,
    config: 0x80000001,
    boot: 0x80000002,
    gpt: 0x80000006,
    action: 0x80000007,
    boot2: 0x8000000c,
    authority: 0x800000e0,
    dstack: 0x08000001,
}
const BOOT_ORDER = variable(GLOBAL, 'BootOrder', Buffer.of(1, 0))
const TAGGED = Buffer.concat([words(0x8f3b22ed, 4), Buffer.from('text')])

for (const { name, of, proven, text } of [
    { name: 'a separator', of: event('rtmr0', EV.separator, Buffer.alloc(4)), proven: true, text: '00000000' },
    {
        name: 'an action',
        of: event('rtmr1', EV.action, 'Exit Boot Services'),
        proven: true,
        text: 'Exit Boot Services',
    },
    {
        name: 'a variable',
        of: event('rtmr0', EV.config, BOOT_ORDER),
        proven: true,
        text: `BootOrder (${GLOBAL}) = 0100`,
    },
    { name: 'a variable by its value', of: event('rtmr0', EV.config, BOOT_ORDER, Buffer.of(1, 0)), proven: false },
    { name: 'a boot variable by its value', of: event('rtmr0', EV.boot, BOOT_ORDER, Buffer.of(1, 0)), proven: true },
    { name: 'a boot variable as a whole', of: event('rtmr0', EV.boot, BOOT_ORDER), proven: true },
    { name: 'the newer kind by its value', of: event('rtmr0', EV.boot2, BOOT_ORDER, Buffer.of(1, 0)), proven: false },
    { name: 'an authority', of: event('rtmr0', EV.authority, BOOT_ORDER), proven: true },
    { name: 'a partition table', of: event('rtmr1', EV.gpt, 'EFI PART'), proven: true, text: '8 bytes' },
    {
        name: 'a command of GRUB',
        of: event('rtmr2', EV.ipl, 'grub_cmd: set x=1\0', 'set x=1'),
        proven: true,
        text: 'grub_cmd: set x=1',
    },
    {
        name: 'one of Red Hat’s',
        of: event('rtmr2', EV.ipl, 'grub_cmd set x=1\0?', 'set x=1\0'),
        proven: true,
        text: 'grub_cmd set x=1',
    },
    {
        name: 'a command of GRUB with its label',
        of: event('rtmr2', EV.ipl, 'grub_cmd: set x=1\0', 'grub_cmd: set x=1'),
        proven: false,
    },
    { name: 'a command that is another', of: event('rtmr2', EV.ipl, 'grub_cmd: set x=1\0', 'set x=2'), proven: false },
    {
        name: 'a file that GRUB read',
        of: event('rtmr2', EV.ipl, '/grub.cfg\0', 'its text'),
        proven: false,
        text: '/grub.cfg',
    },
    {
        name: 'a section of systemd’s stub',
        of: event('rtmr2', EV.ipl, Buffer.from('.linux\0', 'utf16le'), '.linux\0'),
        proven: true,
        text: '.linux',
    },
    { name: 'tagged text', of: event('rtmr3', EV.tag, TAGGED), proven: true, text: 'text' },
    { name: 'tagged text without its tag', of: event('rtmr3', EV.tag, TAGGED, 'text'), proven: true, text: 'text' },
    {
        name: 'tagged text of something else',
        of: event('rtmr2', EV.tag, TAGGED, 'an initrd'),
        proven: false,
        text: 'text',
    },
    { name: 'a kernel', of: event('rtmr1', 0x80000003, Buffer.alloc(40)), proven: false, text: '40 bytes' },
    { name: 'a type without a name', of: event('rtmr1', 0x1234, 'text'), proven: false, text: 'text' },
    { name: 'control characters', of: event('rtmr1', EV.action, '\x1b[2J\nx'), proven: true, text: '1b5b324a0a78' },
] as { name: string; of: Event; proven: boolean; text?: string }[])
    test(`${proven ? 'holds' : 'does not hold'} what was measured: ${name}`, (t) => {
        const [parsed] = parseCcel(encodeCcel([of])).events
        t.is(parsed?.proven, proven)
        t.deepEqual({ ...parsed }, { ...of, proven })
        if (text !== undefined && parsed) t.is(textOf(parsed), text)
    })

test('a log replays to registers, and to no others', (t) => {
    const body = { ...defaultBody(2), rtmrs: registersOf(BOOT) }
    const { log } = checkEventLog(encodeCcel(BOOT), { body })
    t.like(logClaims(log), { form: 'CCEL', events: 4, secureBoot: true, kernelCommandLine: '/vmlinuz ro quiet' })
    for (const { name, events } of [
        { name: 'one less', events: BOOT.slice(0, -1) },
        { name: 'one more', events: [...BOOT, COMMAND_LINE] },
        { name: 'in another order', events: [BOOT[1], BOOT[0], ...BOOT.slice(2)] as Event[] },
        {
            name: 'in another register',
            events: [...BOOT.slice(0, -1), { ...COMMAND_LINE, register: 'rtmr3' as const }],
        },
        { name: 'another digest', events: [...BOOT.slice(0, -1), { ...COMMAND_LINE, digest: sha384(Buffer.of(1)) }] },
        { name: 'nothing', events: [] },
    ])
        t.throws(() => checkEventLog(encodeCcel(events), { body }), { code: 'ERR_TDX_EVENT_LOG' }, name)
})

test('other text with the digest of the real one is not believed', (t) => {
    const data = Buffer.from('kernel_cmdline: /vmlinuz rw init=/bin/sh\0')
    const forged = [...BOOT.slice(0, -1), { ...COMMAND_LINE, data }]
    const { log } = checkEventLog(encodeCcel(forged), { body: { ...defaultBody(2), rtmrs: registersOf(BOOT) } })
    t.false('kernelCommandLine' in logClaims(log))
})

test('what extends no register claims nothing, and two answers are none', (t) => {
    const off = event('rtmr0', EV.config, variable(GLOBAL, 'SecureBoot', Buffer.of(0)))
    const of = (events: readonly Event[]) => logClaims(parseCcel(encodeCcel(events)))
    t.is(of([event('rtmr0', 3, 'x')])['events'], 0)
    t.false('secureBoot' in of([...BOOT, off]))
    t.false('secureBoot' in of([{ ...(BOOT[0] as Event), register: 'rtmr1' }]))
    t.false(
        'secureBoot' in of([event('rtmr0', EV.config, variable(GLOBAL.replace('8', '9'), 'SecureBoot', Buffer.of(1)))]),
    )
})

test('secure boot is told by what was measured early, whatever the log calls it', (t) => {
    const sb = (...value: number[]) => event('rtmr0', EV.config, variable(GLOBAL, 'SecureBoot', Buffer.from(value)))
    const separator = event('rtmr0', EV.separator, Buffer.alloc(4))
    const relabelled = (of: Event): Event => ({ ...of, type: 0x80000008, data: Buffer.from('firmware volume') })
    for (const { name, events, want } of [
        { name: 'on', events: [sb(1), separator], want: true },
        { name: 'on, called something else', events: [relabelled(sb(1)), separator], want: true },
        { name: 'off', events: [sb(0), separator], want: false },
        { name: 'none', events: [sb(), separator], want: false },
        { name: 'off, and a kernel that says on', events: [sb(0), separator, sb(1)], want: false },
        { name: 'the same with another name', events: [relabelled(sb(0)), separator, sb(1)], want: false },
        { name: 'both, early', events: [sb(0), sb(1), separator], want: undefined },
        { name: 'on, and off later', events: [sb(1), separator, relabelled(sb(0))], want: undefined },
        { name: 'on, late', events: [separator, sb(1)], want: undefined },
        { name: 'no separator', events: [sb(1)], want: undefined },
    ])
        t.is(logClaims(parseCcel(encodeCcel(events)))['secureBoot'], want, name)
})

test('no two texts are one claim: nothing is cut, folded or ended early', (t) => {
    const measured = (...texts: string[]) => {
        const claims = logClaims(parseCcel(encodeCcel(texts.map((text) => event('rtmr3', 5, text)))))
        return claims['measured'] as string[]
    }
    const texts = ['a b', 'a\nb', 'a\tb', 'a\n b', 'a\\nb', 'a\0b', 'a']
    t.is(measured(...texts).length, texts.length)
    t.deepEqual(measured('x'.repeat(1024)), [`rtmr3 EV_ACTION ${'x'.repeat(1024)}`])
    t.deepEqual(measured('x'.repeat(1025), 'y'.repeat(1025)), [])
    const line = (text: string) => event('rtmr2', EV.ipl, `kernel_cmdline: ${text}\0`, text)
    const long = line('x'.repeat(1025))
    t.false('kernelCommandLine' in logClaims(parseCcel(encodeCcel([long]))))
    t.false('kernelCommandLine' in logClaims(parseCcel(encodeCcel([long, line('ro quiet')]))), 'two are none')
})

test('a log claims no more than a session can keep', (t) => {
    const of = (count: number, size: number) =>
        logClaims(
            parseCcel(encodeCcel(Array.from({ length: count }, (_, i) => event('rtmr3', 5, `${i}`.padEnd(size))))),
        )
    t.is((of(1024, 5)['digests'] as { rtmr3: string[] }).rtmr3.length, 1024)
    t.throws(() => of(1024, 60), { code: 'ERR_TDX_EVENT_LOG', message: /characters, at most 131072/ })
    const runtime = (count: number) =>
        Buffer.from(
            JSON.stringify(
                Array.from({ length: count }, (_, i) => ({
                    imr: 3,
                    event_type: EV.dstack,
                    digest: '',
                    event: `e${i}`,
                    event_payload: '',
                })),
            ),
        )
    t.is(parseEventLog(runtime(1024)).events.filter(({ proven }) => proven).length, 1024)
    t.throws(() => parseEventLog(runtime(1025)), { code: 'ERR_TDX_EVENT_LOG', message: /1025 events, at most 1024/ })
    t.throws(() => parseEventLog(Buffer.from(`[${Array(65000).fill('0').join()}]`)), {
        message: /more than 16384 values/,
    })
})

const log = encodeCcel(BOOT)
const changed = (at: number, ...bytes: number[]): Buffer => {
    const out = Buffer.from(log)
    out.set(bytes, at)
    return out
}
/** Where the first event begins. */
const FIRST = 32 + 33

for (const { name, raw, message } of [
    { name: 'nothing', raw: Buffer.alloc(0), message: /an empty file/ },
    { name: 'zeros', raw: Buffer.alloc(100), message: /SHA-1|no Spec ID/ },
    { name: 'random bytes', raw: Buffer.alloc(100, 0xa5), message: /no Spec ID/ },
    { name: 'a cut header', raw: log.subarray(0, 50), message: /Spec ID|no event log/ },
    { name: 'too much', raw: Buffer.alloc(MAX_EVENT_LOG_SIZE + 1), message: /at most/ },
    { name: 'no SHA-384', raw: changed(32 + 28, 0x12, 0, 32, 0), message: /no digests of SHA-384/ },
    { name: 'SHA-256', raw: changed(32 + 28, 0xb, 0, 32, 0), message: /TPM/ },
    { name: 'no algorithm', raw: changed(32 + 24, 0), message: /algorithms/ },
    {
        name: 'more algorithms than there is room for',
        raw: changed(32 + 24, 0xff, 0xff, 0xff, 0xff),
        message: /algorithms/,
    },
    { name: 'a vendor of more than there is', raw: changed(32 + 32, 9), message: /vendor/ },
    { name: 'register 5', raw: changed(FIRST, 5), message: /event 1 at 65: index 5/ },
    { name: 'no digest', raw: changed(FIRST + 8, 0), message: /one digest/ },
    { name: 'two digests', raw: changed(FIRST + 8, 2), message: /one digest/ },
    { name: 'another algorithm', raw: changed(FIRST + 12, 0xb), message: /one digest/ },
    {
        name: 'more data than there are',
        raw: changed(FIRST + 62, 0xff, 0xff, 0xff, 0xff),
        message: /its data have 4294967295/,
    },
    { name: 'a cut event', raw: log.subarray(0, -1), message: /its data have/ },
    { name: 'a cut head', raw: log.subarray(0, FIRST + 60), message: /expected 66 bytes, 60 are left/ },
    { name: 'a few bytes behind it', raw: Buffer.concat([log, Buffer.of(1, 2)]), message: /2 are left/ },
    {
        name: 'more events than anybody has',
        raw: encodeCcel(Array.from({ length: 4097 }, () => event('rtmr3', 4, ''))),
        message: /more than 1024/,
    },
])
    test(`refused: ${name}`, (t) => void t.throws(() => parseEventLog(raw), { code: 'ERR_TDX_EVENT_LOG', message }))

for (const { name, tail } of [
    { name: 'its last byte', tail: Buffer.alloc(0) },
    { name: 'ones', tail: Buffer.alloc(4096, 0xff) },
    { name: 'zeros', tail: Buffer.alloc(4096) },
    { name: 'three ones', tail: Buffer.alloc(3, 0xff) },
])
    test(`a log ends with ${name}`, (t) => {
        const { events } = parseEventLog(Buffer.concat([log, tail]))
        t.is(events.length, BOOT.length)
        t.deepEqual(encodeCcel(events), log)
    })

const RUNTIME = { imr: 3, event_type: EV.dstack, digest: '', event: 'app-id', event_payload: '0102' }
const dstack = (...events: unknown[]): Buffer => Buffer.from(JSON.stringify(events))

test('a runtime event of dstack has the digest of its name and its payload', (t) => {
    const [parsed] = parseEventLog(dstack(RUNTIME)).events
    t.deepEqual(parsed?.digest, sha384(Buffer.from('\x01\0\0\x08:app-id:\x01\x02', 'latin1')))
    t.is(parsed && textOf(parsed), 'app-id = 0102')
    const [named] = parseEventLog(dstack({ ...RUNTIME, digest: '00'.repeat(48) })).events
    t.false(named?.proven)
})

for (const { name, value, message } of [
    { name: 'register 4', value: { ...RUNTIME, imr: 4 }, message: /imr/ },
    { name: 'a digest of 47 bytes', value: { ...RUNTIME, digest: '00'.repeat(47) }, message: /48 bytes in hex/ },
    { name: 'a payload of half a byte', value: { ...RUNTIME, event_payload: '0' }, message: /event_payload/ },
    { name: 'no digest where none follows', value: { ...RUNTIME, event_type: 4 }, message: /has no digest/ },
    { name: 'no event', value: 7, message: /expected object/ },
])
    test(`refused of dstack: ${name}`, (t) =>
        void t.throws(() => parseEventLog(dstack(value)), { code: 'ERR_TDX_EVENT_LOG', message }))

test('no bytes crash the parser, and none make it say more than they hold', (t) => {
    const mutated = fc
        .tuple(fc.nat(log.length - 1), fc.nat(255), fc.nat(log.length))
        .map(([at, byte, end]) => changed(at, byte).subarray(0, end))
    const raw = fc.oneof(
        mutated,
        fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    )
    fc.assert(
        fc.property(raw, (bytes) => {
            try {
                const { events } = parseEventLog(bytes)
                for (const one of events) {
                    textOf(one)
                    measuredOf(one.type, one.data)
                }
                return events.reduce((sum, { data }) => sum + data.length, 0) <= bytes.length
            } catch (error) {
                return error instanceof AttestError
            }
        }),
        { numRuns: 2000 },
    )
    t.pass()
})
