// Is it acceptable? Each member of a policy, met and not met; the strict values of those that are absent; the floor; what
// a policy can cover.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { Checks } from '#core/checks.ts'
import { parseTomlText } from '#core/config.ts'
import { judge } from '#evidence/judge.ts'
import type { Coverage, Trust } from '#evidence/verifier.ts'
import { encodeCcel } from '#plugins/tdx/event-log/ccel.ts'
import { MEMBERS } from '#plugins/tdx/members.ts'
import { DEFAULT_PLATFORM } from '#plugins/tdx/mint/mint.ts'
import { type QuoteChanges, tcbSvn } from '#plugins/tdx/mint/quote.ts'
import { STATUS_SVNS } from '#plugins/tdx/mint/statements.ts'
import { TDX_POLICY } from '#plugins/tdx/policy.ts'
import { tdxVerifier } from '#plugins/tdx/verifier.ts'
import { BOOT, digestOf, registersOf } from './boot.ts'
import { quote, trustIn, vendor } from './minted.ts'

const own = await vendor()
const hex = (byte: number, size: number): string => Buffer.alloc(size, byte).toString('hex')
const digest = (byte: number): Buffer => Buffer.alloc(48, byte)
const attributes = (tdAttributes: bigint): QuoteChanges => ({ body: { tdAttributes } })

const WITHOUT: Partial<Trust> = { statements: [], withoutStatus: true }
const EMPTY = [digest(0), digest(0), digest(0), digest(0)] as const
const LOG = encodeCcel(BOOT)
const LOGGED: QuoteChanges = { body: { rtmrs: registersOf(BOOT) } }
const CMDLINE = digestOf('rtmr2').toString('hex')

interface Case {
    readonly name: string
    readonly changes?: QuoteChanges
    readonly trust?: Partial<Trust>
    readonly eventLog?: Buffer
    readonly policy: Record<string, unknown>
    readonly want?: string
}

const SEPT = 1n << 28n
const V5: QuoteChanges = { version: 5, bodyType: 3 }
const SERVED: QuoteChanges = { ...V5, body: { mrServiceTd: digest(7) } }
const refused = (code: string): string => `ERR_TDX_POLICY_${code}`

const CASES: readonly Case[] = [
    { name: 'an empty policy', policy: {} },
    { name: 'MRTD', policy: { measurements: [hex(0x22, 48)] } },
    {
        name: 'MRTD in capitals',
        changes: { body: { mrTd: digest(0xab) } },
        policy: { measurements: [hex(0xab, 48).toUpperCase()] },
    },
    { name: 'another MRTD', policy: { measurements: [hex(0x23, 48)] }, want: refused('MEASUREMENT') },
    ...([0, 1, 2, 3] as const).flatMap((index): Case[] => {
        const rtmrs = [0, 1, 2, 3].map((at) => digest(at === index ? 9 : 0)) as unknown as typeof EMPTY
        const changes: QuoteChanges = { body: { rtmrs } }
        const name = `rtmr${index}`
        return [
            { name, changes, policy: { [name]: [hex(8, 48), hex(9, 48)] } },
            { name: `another ${name}`, changes, policy: { [name]: [hex(0, 48)] }, want: refused('RTMR') },
        ]
    }),
    ...(['mrConfigId', 'mrOwner', 'mrOwnerConfig'] as const).flatMap((name): Case[] => [
        { name, changes: { body: { [name]: digest(5) } }, policy: { [name]: [hex(5, 48)] } },
        { name: `another ${name}`, policy: { [name]: [hex(5, 48)] }, want: refused('CONFIG') },
    ]),
    { name: 'no service TD is bound', changes: V5, policy: {} },
    { name: 'a service TD under an empty policy', changes: SERVED, policy: {}, want: refused('SERVICE_TD') },
    { name: 'a service TD that is allowed', changes: SERVED, policy: { mrServiceTd: [hex(7, 48)] } },
    { name: 'no service TD where one must be', policy: { mrServiceTd: [hex(7, 48)] }, want: refused('SERVICE_TD') },
    { name: 'a debug TD under an empty policy', changes: attributes(SEPT | 1n), policy: {}, want: refused('DEBUG') },
    { name: 'a debug TD that is allowed', changes: attributes(SEPT | 1n), policy: { debug: true } },
    ...[4n, 5n, 6n, 7n].map(
        (bit): Case => ({
            name: `a TD with the untrusted attribute ${bit}`,
            changes: attributes(SEPT | (1n << bit)),
            policy: {},
            want: refused('DEBUG'),
        }),
    ),
    {
        name: 'a migratable TD under an empty policy',
        changes: attributes(SEPT | (1n << 29n)),
        policy: {},
        want: refused('MIGRATION'),
    },
    { name: 'a migratable TD that is allowed', changes: attributes(1n << 29n), policy: { migration: true } },
    { name: 'the attributes', policy: { tdAttributes: ['0000000010000000'] } },
    { name: 'other attributes', policy: { tdAttributes: ['0000000000000000'] }, want: refused('ATTRIBUTES') },
    { name: 'attributes within a mask', policy: { tdAttributesMask: '8000000050000001' } },
    {
        name: 'an attribute beyond the mask',
        changes: attributes(SEPT | (1n << 31n)),
        policy: { tdAttributesMask: '8000000050000001' },
        want: refused('ATTRIBUTES'),
    },
    { name: 'a required attribute', policy: { requiredAttributes: ['septVeDisable'] } },
    {
        name: 'without a required attribute',
        changes: attributes(0n),
        policy: { requiredAttributes: ['septVeDisable'] },
        want: refused('ATTRIBUTES'),
    },
    { name: 'XFAM', policy: { xfam: ['00000000000600e7'] } },
    { name: 'another XFAM', policy: { xfam: ['0000000000000003'] }, want: refused('ATTRIBUTES') },
    { name: 'XFAM within a mask', policy: { xfamMask: '000000000006dbe7' } },
    { name: 'XFAM beyond a mask', policy: { xfamMask: '0000000000000003' }, want: refused('ATTRIBUTES') },
    { name: 'the module', changes: { body: { mrSeam: digest(3) } }, policy: { mrSeam: [hex(3, 48)] } },
    { name: 'another module', policy: { mrSeam: [hex(3, 48)] }, want: refused('MODULE') },
    { name: 'the versions of the module exactly', policy: { minimumTeeTcbSvn: `0601${'00'.repeat(14)}` } },
    { name: 'one byte too low', policy: { minimumTeeTcbSvn: `0001${'ff'.repeat(14)}` }, want: refused('TCB') },
    { name: 'the quoting enclave', policy: { minimumQeSvn: 1 } },
    { name: 'a quoting enclave that is too old', policy: { minimumQeSvn: 1000 }, want: refused('TCB') },
    { name: 'the provisioning enclave', policy: { minimumPceSvn: DEFAULT_PLATFORM.pceSvn } },
    {
        name: 'a provisioning enclave that is too old',
        policy: { minimumPceSvn: DEFAULT_PLATFORM.pceSvn + 1 },
        want: refused('TCB'),
    },
    { name: 'the number of the evaluation', policy: { minimumTcbEvaluationDataNumber: 1 } },
    {
        name: 'an evaluation that is too old',
        policy: { minimumTcbEvaluationDataNumber: 60_000 },
        want: refused('TCB'),
    },
    {
        name: 'no evaluation',
        trust: WITHOUT,
        policy: { minimumTcbEvaluationDataNumber: 0 },
        want: refused('TCB'),
    },
    { name: 'the date of the TCB', policy: { minimumTcbDate: '2001-01-01' } },
    { name: 'the same as TOML has it', policy: { minimumTcbDate: new Date('2001-01-01T00:00:00Z') } },
    { name: 'a TCB that is too old', policy: { minimumTcbDate: '2999-01-01T00:00:00Z' }, want: refused('TCB') },
    { name: 'a TCB of no date', trust: WITHOUT, policy: { minimumTcbDate: '2001-01-01' }, want: refused('TCB') },
    { name: 'no advisories, and none allowed', policy: { allowedAdvisories: [] } },
    {
        name: 'advisories that nobody knows of',
        trust: WITHOUT,
        policy: { allowedAdvisories: [] },
        want: refused('ADVISORY'),
    },
    { name: "Intel's quoting enclave", policy: { qeVendorIds: ['939a7233f79c4ca9940a0db3957f0607'] } },
    { name: "another vendor's", policy: { qeVendorIds: [hex(1, 16)] }, want: refused('PLATFORM') },
    { name: 'the FMSPC', policy: { fmspcs: [DEFAULT_PLATFORM.fmspc.toString('hex')] } },
    { name: 'another FMSPC', policy: { fmspcs: [hex(1, 6)] }, want: refused('PLATFORM') },
    { name: 'another processor', policy: { ppidHashes: [hex(1, 32)] }, want: refused('PLATFORM') },
    {
        name: 'the processor',
        policy: { ppidHashes: [ppidHash()] },
    },
    { name: 'no log, and none required', policy: { requireEventLog: false } },
    { name: 'no log where one is required', policy: { requireEventLog: true }, want: refused('EVENT_LOG') },
    { name: 'a log', changes: LOGGED, eventLog: LOG, policy: { requireEventLog: true } },
    { name: 'trusted events', changes: LOGGED, eventLog: LOG, policy: { trustedEvents: { rtmr2: [CMDLINE] } } },
    {
        name: 'an event that is not trusted',
        changes: LOGGED,
        eventLog: LOG,
        policy: { trustedEvents: { rtmr1: [CMDLINE] } },
        want: refused('EVENT_LOG'),
    },
    {
        name: 'trusted events, and no log',
        policy: { trustedEvents: { rtmr2: [CMDLINE] } },
        want: refused('EVENT_LOG'),
    },
    {
        name: 'a log of another boot',
        eventLog: LOG,
        policy: {},
        want: 'ERR_TDX_EVENT_LOG',
    },
]

function ppidHash(): string {
    const verifier = tdxVerifier(trustIn(own))
    const { claims } = verifier.authenticate({ tee: 'tdx', report: quote(own) }, own.now, new Checks([]))
    return String(claims['ppidHash'])
}

const judged = ({ changes, trust, eventLog, policy }: Case) => {
    const verifier = tdxVerifier(trustIn(own, trust))
    const evidence = { tee: 'tdx', report: quote(own, changes), ...(eventLog ? { eventLog } : {}) }
    return judge(verifier, evidence, { policy: verifier.readPolicy(policy, 'policy') }, own.now)
}

for (const one of CASES)
    test(`${one.want ? 'refused' : 'accepted'}: ${one.name}`, (t) => {
        const judgement = judged(one)
        t.is(judgement.code, one.want, JSON.stringify(judgement.checks))
        t.is(judgement.verdict, one.want ? 'rejected' : 'accepted')
    })

test('each member that is judged here has a check of its own, and a case above fails it, and another passes it', (t) => {
    const members = Object.keys(TDX_POLICY.schema.shape).filter((name) => name !== 'tee')
    t.deepEqual(members, Object.keys(MEMBERS))
    const { checks } = TDX_POLICY
    t.deepEqual([...new Set(checks)], [...checks])
    const seen = CASES.flatMap((one) => judged(one).checks.map(({ name, result }) => `${name}: ${result}`))
    const unseen = checks.flatMap((check) => [`${check}: fail`, `${check}: pass`]).filter((it) => !seen.includes(it))
    t.deepEqual(unseen, [])
})

test('members without a judge belong to a check of the status', (t) => {
    const { checkNames } = tdxVerifier(trustIn(own))
    for (const [name, { check, judge: judges }] of TDX_POLICY.rows)
        t.true((judges ? checkNames.appraisal : checkNames.status)?.includes(check), name)
})

for (const { name, policy, message } of [
    { name: 'an unknown member', policy: { measurement: [] }, message: /measurement/ },
    { name: 'an empty list', policy: { measurements: [] }, message: /measurements/ },
    { name: 'a measurement of 47 bytes', policy: { measurements: [hex(1, 47)] }, message: /48 bytes in hex/ },
    { name: 'an unknown attribute', policy: { requiredAttributes: ['safe'] }, message: /requiredAttributes/ },
    { name: 'an unknown register', policy: { trustedEvents: { rtmr4: [CMDLINE] } }, message: /rtmr4/ },
    { name: 'an unknown status', policy: { acceptStatuses: ['Fine'] }, message: /acceptStatuses/ },
    { name: 'Revoked', policy: { acceptStatuses: ['Revoked'] }, message: /acceptStatuses/ },
    { name: 'a grace of no name', policy: { tcbGrace: { days: 1 } }, message: /tcbGrace/ },
    { name: 'a grace below zero', policy: { tcbGrace: { outOfDateDays: -1 } }, message: /outOfDateDays/ },
    { name: 'a date that is none', policy: { minimumTcbDate: 'yesterday' }, message: /minimumTcbDate/ },
    { name: 'a policy of another technology', policy: { tee: 'snp' }, message: /tee/ },
    { name: 'debug as text', policy: { debug: 'false' }, message: /debug/ },
])
    test(`malformed: ${name}`, (t) =>
        void t.throws(() => tdxVerifier(trustIn(own)).readPolicy(policy, 'p.toml'), {
            code: 'ERR_TDX_POLICY_FILE',
            message,
        }))

for (const [name, changes] of Object.entries({ 'version 4': {}, 'version 5': V5, 'a boot that was logged': LOGGED }))
    test(`the policy that is written from a quote of ${name} accepts it, and no other`, (t) => {
        const verifier = tdxVerifier(trustIn(own))
        const accepts = (also: QuoteChanges['body']): string | undefined => {
            const report = quote(own, { ...changes, body: { ...(changes as QuoteChanges).body, ...also } })
            return judge(verifier, { tee: 'tdx', report }, { policy }, own.now).code
        }
        const authentic = verifier.authenticate({ tee: 'tdx', report: quote(own, changes) }, own.now, new Checks([]))
        const policy = verifier.readPolicy(parseTomlText(verifier.writePolicy(authentic), 'written'), 'written')
        t.is(accepts({}), undefined)
        t.is(accepts({ mrTd: digest(9) }), refused('MEASUREMENT'))
        t.is(accepts({ rtmrs: [digest(0), digest(9), digest(0), digest(0)] }), refused('RTMR'))
        t.is(accepts({ tdAttributes: SEPT | 1n }), refused('DEBUG'))
        t.is(accepts({ teeTcbSvn: Buffer.alloc(16) }), 'ERR_TDX_STATUS')
    })

test('a status that was accepted by name stands in the policy that is written', (t) => {
    const claims = { tcbStatus: 'OutOfDate', advisoryIds: ['INTEL-SA-00001'] }
    const written = parseTomlText(TDX_POLICY.write(claims), 'written')
    t.deepEqual(written['acceptStatuses'], ['OutOfDate'])
    t.deepEqual(written['allowedAdvisories'], ['INTEL-SA-00001'])
    for (const tcbStatus of ['UpToDate', 'Revoked'])
        t.false('acceptStatuses' in parseTomlText(TDX_POLICY.write({ ...claims, tcbStatus }), tcbStatus), tcbStatus)
})

const ALL = 'firmware+kernel+initrd+cmdline'
const BOOTED = { rtmr1: [hex(1, 48)], rtmr2: [hex(2, 48)] }

for (const { name, changes, trust, policy = null, coverage = 'firmware', want } of [
    { name: 'a strict set', policy: {}, want: [] },
    { name: 'no set at all', want: [] },
    {
        name: 'a debug TD, even where the set allows it',
        changes: attributes(1n),
        policy: { debug: true },
        want: ['insecureDebug'],
    },
    { name: 'a TD that is profiled', changes: attributes(1n << 5n), want: ['insecureProfiling'] },
    { name: 'an untrusted attribute without a name', changes: attributes(1n << 7n), want: ['insecureProfiling'] },
    {
        name: 'a migratable TD',
        changes: attributes(1n << 29n),
        policy: { migration: true },
        want: ['insecureMigration'],
    },
    { name: 'a service TD', changes: SERVED, policy: { mrServiceTd: [hex(7, 48)] }, want: ['insecureServiceTd'] },
    { name: 'a module that nobody names', trust: WITHOUT, policy: {}, want: ['insecureUnknownModule'] },
    {
        name: 'a module that the set names',
        trust: WITHOUT,
        changes: { body: { mrSeam: digest(3) } },
        policy: { mrSeam: [hex(3, 48)] },
        want: [],
    },
    {
        name: 'a set that covers all, and does not name the machine',
        policy: BOOTED,
        coverage: ALL,
        want: ['insecureUnmeasuredMachine'],
    },
    {
        name: 'a machine of which nothing was measured',
        policy: { ...BOOTED, rtmr0: [hex(0, 48)] },
        coverage: ALL,
        want: ['insecureUnmeasuredMachine'],
    },
    { name: 'a set that names the machine', policy: { ...BOOTED, rtmr0: [hex(3, 48)] }, coverage: ALL, want: [] },
    {
        name: 'firmware that Intel has revoked: no rule can name that switch',
        changes: { body: { teeTcbSvn: tcbSvn({ microcode: STATUS_SVNS.Revoked }) } },
        want: ['insecureRevokedPlatform'],
    },
] as {
    name: string
    changes?: QuoteChanges
    trust?: Partial<Trust>
    policy?: Record<string, unknown>
    coverage?: Coverage
    want: string[]
}[])
    test(`floor: ${name}`, (t) => {
        const verifier = tdxVerifier(trustIn(own, trust))
        const authentic = verifier.authenticate({ tee: 'tdx', report: quote(own, changes) }, own.now, new Checks([]))
        const findings = verifier.floor(authentic, policy && { policy: verifier.readPolicy(policy, 'set'), coverage })
        t.deepEqual(
            findings.map((finding) => finding.switch),
            want as never,
        )
    })

for (const { name, policy, want } of [
    { name: 'MRTD', policy: {}, want: 'firmware' },
    { name: 'RTMR1 alone', policy: { rtmr1: [hex(1, 48)] }, want: 'firmware' },
    {
        name: 'RTMR0, RTMR2 and RTMR3',
        policy: { rtmr0: [hex(1, 48)], rtmr2: [hex(1, 48)], rtmr3: [hex(1, 48)] },
        want: 'firmware',
    },
    { name: 'RTMR1 and RTMR2', policy: { rtmr1: [hex(1, 48)], rtmr2: [hex(2, 48)] }, want: ALL },
    {
        name: 'registers that nobody measured into',
        policy: { rtmr1: [hex(1, 48)], rtmr2: [hex(2, 48), hex(0, 48)] },
        want: 'firmware',
    },
    {
        name: 'trusted events',
        policy: { trustedEvents: { rtmr1: [hex(1, 48)], rtmr2: [hex(1, 48)] } },
        want: 'firmware',
    },
])
    test(`covers ${want}: ${name}`, (t) => {
        const verifier = tdxVerifier(trustIn(own))
        t.is(verifier.covers?.(verifier.readPolicy({ measurements: [hex(0x22, 48)], ...policy }, 'p')), want as never)
    })
