// What Intel says of a platform, and what is accepted: each status, by the levels of platform, module and quoting enclave;
// relaunches; what a caller or a policy accepts by name, and for how many days.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import type { Trust } from '#evidence/verifier.ts'
import { type QuoteChanges, tcbSvn } from '#plugins/tdx/mint/quote.ts'
import { DEFAULT_MODULES, STATUS_SVNS, tcbInfo } from '#plugins/tdx/mint/statements.ts'
import { ACCEPTABLE_STATUSES, TCB_STATUSES, type TcbStatus } from '#plugins/tdx/platform.ts'
import { type StatusPolicy, statusJudge } from '#plugins/tdx/status.ts'
import { converge, relaunchStatus } from '#plugins/tdx/tcb.ts'
import { judgeOf } from './judged.ts'
import { identityOf, infoOf, listsOf, quote, trustIn, vendor, withLists } from './minted.ts'

const DAY = 24 * 3_600_000
const intel = await vendor()
const { now } = intel
const later = (days: number): Date => new Date(now.getTime() + days * DAY)
const expiredLists = await withLists(intel, { pck: { thisUpdate: later(-40), nextUpdate: later(-9.5) } })

const judged = (changes: QuoteChanges, trust: Partial<Trust> = {}, policy?: StatusPolicy, at = now) =>
    judgeOf(trustIn(intel, trust))(quote(intel, changes), at, policy)

const at = (microcode: number, moduleSvn = 6, moduleVersion = 1): QuoteChanges => ({
    body: { teeTcbSvn: tcbSvn({ microcode, moduleSvn, moduleVersion }) },
})

for (const [status, svn] of Object.entries(STATUS_SVNS)) {
    test(`a platform at the level of ${status}`, (t) => {
        const { code, message, authentic } = judged(at(svn))
        t.is(authentic?.platform.tcbStatus, status as TcbStatus)
        t.is(authentic?.platform.platformStatus, status as TcbStatus)
        t.is(code, status === 'UpToDate' ? null : 'ERR_TDX_STATUS')
        if (code) t.regex(message, new RegExp(`^Intel calls this platform ${status} \\(platform ${status}`))
    })

    test(`${status}, accepted by name`, (t) => {
        const want = status === 'Revoked' ? 'ERR_TDX_STATUS' : null
        if (status !== 'Revoked') t.is(judged(at(svn), { acceptStatuses: [status] }).code, null)
        t.is(judged(at(svn), {}, { acceptStatuses: [status as TcbStatus] }).code, want)
        const others = ACCEPTABLE_STATUSES.filter((other) => other !== status)
        t.is(judged(at(svn), { acceptStatuses: others }).code, status === 'UpToDate' ? null : 'ERR_TDX_STATUS')
    })
}

test('what is accepted by name is said', (t) => {
    const { checks } = judged(at(STATUS_SVNS.OutOfDate), { acceptStatuses: ['OutOfDate'] })
    const said = checks.list.find(({ name }) => name === 'tcb-status')
    t.regex(said?.detail ?? '', /^ACCEPTED BY NAME: OutOfDate .*EMULATED-SA-00003/)
})

for (const status of ['Revoked', 'uptodate', 'Fine', ''])
    test(`${JSON.stringify(status)} cannot be accepted by name`, (t) => {
        const error = t.throws(() => statusJudge({ acceptStatuses: [status], withoutStatus: false }), {
            code: 'ERR_USAGE',
        })
        t.regex(error?.message ?? '', /expected UpToDate, SWHardeningNeeded/)
    })

for (const { name, changes, status, module = 'UpToDate', platform = 'UpToDate' } of [
    { name: 'a module out of date', changes: at(8, 4), status: 'OutOfDate', module: 'OutOfDate' },
    { name: 'a revoked module', changes: at(8, 1), status: 'Revoked', module: 'Revoked' },
    { name: 'a module below every level', changes: at(8, 0), status: 'NotSupported', module: 'NotSupported' },
    { name: 'a module between two levels', changes: at(8, 5), status: 'OutOfDate', module: 'OutOfDate' },
    {
        name: 'a module out of date on a platform that must be configured',
        changes: at(STATUS_SVNS.ConfigurationNeeded, 4),
        status: 'OutOfDateConfigurationNeeded',
        module: 'OutOfDate',
        platform: 'ConfigurationNeeded',
    },
    {
        name: 'a revoked module on a platform out of date',
        changes: at(STATUS_SVNS.OutOfDate, 1),
        status: 'Revoked',
        module: 'Revoked',
        platform: 'OutOfDate',
    },
    { name: 'a module of another version', changes: at(8, 3, 3), status: 'UpToDate' },
] as const)
    test(name, (t) => {
        const { code, authentic } = judged(changes)
        t.like(authentic?.platform, { tcbStatus: status, moduleStatus: module, platformStatus: platform })
        t.is(code, (status as TcbStatus) === 'UpToDate' ? null : 'ERR_TDX_STATUS')
    })

test('the first module has no identity of its own: levels are compared from the first component on', (t) => {
    const first = judged(at(8, 5, 0))
    t.is(first.code, null)
    t.like(first.authentic?.platform, { tcbStatus: 'UpToDate', moduleStatus: null })
    t.is(judged(at(8, 4, 0)).authentic?.platform.tcbStatus, 'NotSupported')
})

for (const [isvSvn, qe, status] of [
    [5, 'UpToDate', 'UpToDate'],
    [3, 'OutOfDate', 'OutOfDate'],
    [2, 'Revoked', 'Revoked'],
    [0, 'NotSupported', 'NotSupported'],
] as const)
    test(`a quoting enclave of SVN ${isvSvn}: ${qe}`, (t) => {
        const { authentic } = judged({ qeReport: { isvSvn } })
        t.like(authentic?.platform, { tcbStatus: status, qeStatus: qe, platformStatus: 'UpToDate' })
    })

test('date and advisories are those of every level that was met', (t) => {
    const { authentic } = judged({ ...at(STATUS_SVNS.SWHardeningNeeded, 4), qeReport: { isvSvn: 3 } })
    t.is(authentic?.platform.tcbDate?.toISOString(), '2023-02-15T00:00:00.000Z')
    t.deepEqual(authentic?.platform.advisoryIds, ['EMULATED-SA-00001', 'EMULATED-SA-00005', 'EMULATED-SA-00006'])
})

test('levels are walked from the highest on, in whatever order they come', (t) => {
    const content = tcbInfo(now)
    const levels = content['tcbLevels'] as object[]
    const reversed = infoOf(intel, { tcbLevels: levels.toReversed() })
    const modules = DEFAULT_MODULES.map((module) => ({ ...module, tcbLevels: module.tcbLevels.toReversed() }))
    const mixed = infoOf(intel, { tcbLevels: levels.toReversed(), tdxModuleIdentities: modules })
    for (const info of [reversed, mixed])
        t.is(judged(at(8), { statements: [info, identityOf(intel)] }).authentic?.platform.tcbStatus, 'UpToDate')
})

test('the name of a module is found in either case', (t) => {
    const modules = DEFAULT_MODULES.map((module) => ({ ...module, id: module.id.toLowerCase() }))
    t.is(judged(at(8), { statements: [infoOf(intel, { tdxModuleIdentities: modules }), identityOf(intel)] }).code, null)
})

test('an SGX component or a PCE that is older meets no level', (t) => {
    const higher = (changed: object) =>
        (tcbInfo(now)['tcbLevels'] as { tcb: object }[]).map((level) => ({
            ...level,
            tcb: { ...level.tcb, ...changed },
        }))
    const sgx = Array.from({ length: 16 }, (_, i) => ({ svn: i === 15 ? 1 : 0 }))
    for (const changed of [{ pcesvn: 14 }, { sgxtcbcomponents: sgx }]) {
        const { authentic } = judged(at(8), {
            statements: [infoOf(intel, { tcbLevels: higher(changed) }), identityOf(intel)],
        })
        t.is(authentic?.platform.tcbStatus, 'NotSupported')
        t.is(authentic?.platform.tcbDate, null)
    }
})

for (const { launched, now: current, svn = 6, status } of [
    { launched: at(4), now: 8, status: 'TDRelaunchAdvised' },
    { launched: at(4), now: 7, status: 'TDRelaunchAdvised' },
    { launched: at(4), now: 6, status: 'TDRelaunchAdvisedConfigurationNeeded' },
    { launched: at(3), now: 8, status: 'TDRelaunchAdvisedConfigurationNeeded' },
    { launched: at(8, 4), now: 8, status: 'TDRelaunchAdvised' },
    { launched: at(4), now: 4, status: 'OutOfDate' },
    // From here on stricter than Intel's library, which judges the module that runs now only to advise a relaunch.
    { launched: at(4), now: 2, status: 'Revoked' },
    { launched: at(4), now: 1, status: 'NotSupported' },
    { launched: at(8), now: 2, status: 'Revoked' },
    { launched: at(8), now: 1, status: 'NotSupported' },
    { launched: at(8), now: 3, status: 'OutOfDateConfigurationNeeded' },
    { launched: at(8), now: 7, status: 'SWHardeningNeeded' },
    { launched: at(8), now: 8, svn: 4, status: 'OutOfDate' },
    { launched: at(8), now: 8, svn: 1, status: 'Revoked' },
    { launched: at(8), now: 4, status: 'OutOfDate' },
    // And as it has it again.
    { launched: at(8), now: 8, status: 'UpToDate' },
    { launched: at(2), now: 8, status: 'Revoked' },
    { launched: at(1), now: 8, status: 'NotSupported' },
    { launched: at(7), now: 8, status: 'SWHardeningNeeded' },
] as { launched: QuoteChanges; now: number; svn?: number; status: TcbStatus }[])
    for (const bodyType of [3, 4] as const)
        test(`launched at ${launched.body?.teeTcbSvn?.toString('hex', 0, 3)}, now at microcode ${current}, module ${svn}: ${status}, body ${bodyType}`, (t) => {
            const body = { ...launched.body, teeTcbSvn2: tcbSvn({ microcode: current, moduleSvn: svn }) }
            const { code, authentic, message } = judged({ version: 5, bodyType, body })
            t.is(authentic?.platform.tcbStatus, status)
            t.is(authentic?.platform.relaunchAdvised, status.startsWith('TDRelaunch'))
            t.is(code, status === 'UpToDate' ? null : 'ERR_TDX_STATUS', message)
            const accepted = judged({ version: 5, bodyType, body }, {}, { acceptStatuses: [status] })
            t.is(accepted.code, status === 'Revoked' ? 'ERR_TDX_STATUS' : null)
        })

test('converge: revoked before everything, then not supported', (t) => {
    for (const platform of TCB_STATUSES) {
        t.is(converge(platform, ['UpToDate', 'Revoked']), 'Revoked')
        t.is(converge(platform, ['UpToDate', 'UpToDate']), platform)
        if (platform !== 'Revoked') t.is(converge(platform, ['NotSupported']), 'NotSupported')
        t.not(converge(platform, ['OutOfDate']), 'UpToDate')
    }
    t.is(converge('NotSupported', ['OutOfDate']), 'NotSupported')
    t.is(relaunchStatus('Revoked', 'UpToDate'), null)
})

const DAYS_OF_OUT_OF_DATE = Math.ceil((now.getTime() - Date.parse('2020-11-13T00:00:00Z')) / DAY)

interface GraceCase {
    readonly name: string
    readonly changes?: QuoteChanges
    readonly trust?: Partial<Trust>
    readonly policy: StatusPolicy
    readonly when?: Date
    readonly want: string | null
}

const GRACES: readonly GraceCase[] = [
    {
        name: 'a TCB out of date, within the days',
        changes: at(STATUS_SVNS.OutOfDate),
        policy: { tcbGrace: { outOfDateDays: DAYS_OF_OUT_OF_DATE } },
        want: null,
    },
    {
        name: 'a TCB out of date, a day too late',
        changes: at(STATUS_SVNS.OutOfDate),
        policy: { tcbGrace: { outOfDateDays: DAYS_OF_OUT_OF_DATE - 1 } },
        want: 'ERR_TDX_STATUS',
    },
    {
        name: 'out of date and to be configured, within the days alone',
        changes: at(STATUS_SVNS.OutOfDateConfigurationNeeded),
        policy: { tcbGrace: { outOfDateDays: 36_500 } },
        want: 'ERR_TDX_STATUS',
    },
    {
        name: 'out of date and to be configured, within the days, and the latter accepted',
        changes: at(STATUS_SVNS.OutOfDateConfigurationNeeded),
        policy: { tcbGrace: { outOfDateDays: 36_500 }, acceptStatuses: ['ConfigurationNeeded'] },
        want: null,
    },
    ...(['Revoked', 'NotSupported', 'SWHardeningNeeded', 'ConfigurationNeeded'] as const).map((status) => ({
        name: `${status} within any days`,
        changes: at(STATUS_SVNS[status]),
        policy: { tcbGrace: { outOfDateDays: 36_500, staleCollateralDays: 36_500 } },
        want: 'ERR_TDX_STATUS',
    })),
    {
        name: 'expired lists, within the days',
        trust: { revocationLists: listsOf(expiredLists) },
        policy: { tcbGrace: { staleCollateralDays: 10 } },
        want: null,
    },
    {
        name: 'expired lists, a day too late',
        trust: { revocationLists: listsOf(expiredLists) },
        policy: { tcbGrace: { staleCollateralDays: 9 } },
        want: 'ERR_TDX_COLLATERAL_TIME',
    },
    {
        name: 'expired statements, within the days',
        policy: { tcbGrace: { staleCollateralDays: 2 } },
        when: later(365),
        want: null,
    },
    { name: 'expired statements, and no grace', policy: {}, when: later(365), want: 'ERR_TDX_COLLATERAL_TIME' },
    {
        name: 'expired statements do not make a status better',
        changes: at(STATUS_SVNS.OutOfDate),
        policy: { tcbGrace: { staleCollateralDays: 2 } },
        when: later(365),
        want: 'ERR_TDX_STATUS',
    },
    { name: 'statements of a day', policy: { maximumCollateralAgeDays: 1 }, when: later(-0.5), want: null },
    {
        name: 'statements too old for the policy',
        policy: { maximumCollateralAgeDays: 1 },
        when: later(1),
        want: 'ERR_TDX_COLLATERAL_TIME',
    },
]

for (const { name, changes = at(8), trust = {}, policy, when = now, want } of GRACES)
    test(`grace: ${name}`, (t) => {
        const { code, message, checks } = judged(changes, trust, policy, when)
        t.is(code, want, message)
        const graced = checks.list.some(({ detail }) => detail.startsWith('GRACE: '))
        if (want === null) t.is(graced, policy.tcbGrace !== undefined)
    })

test('without statements there is no status, and only the caller may go on', (t) => {
    const bare = judged(at(8), { statements: [] })
    t.is(bare.code, 'ERR_TDX_COLLATERAL_MISSING')
    t.is(bare.authentic?.platform.tcbStatus, null)
    const without = judged(at(1), { statements: [], withoutStatus: true })
    t.is(without.code, null)
    t.is(without.checks.list.find(({ name }) => name === 'tcb-status')?.result, 'skipped')
    // What was given is judged all the same.
    t.is(judged(at(4), { withoutStatus: true }).code, 'ERR_TDX_STATUS')
    t.is(
        judged(at(8), { statements: [], withoutStatus: true, revocationLists: listsOf(expiredLists) }).code,
        'ERR_TDX_COLLATERAL_TIME',
    )
})
