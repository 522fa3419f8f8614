// Is what Intel says of the platform acceptable? UpToDate is; any other status only where the caller or a policy names
// it, or within a grace that a policy gives, and each of them is said. What has expired says nothing of today.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { DAY_MS, day } from '#core/dates.ts'
import { coreError } from '#core/errors.ts'
import type { Authentic, Policy, Trust } from '#evidence/verifier.ts'
import { fetchHint } from './collateral/collateral.ts'
import { tdxError } from './errors.ts'
import { ACCEPTABLE_STATUSES, NEVER_ACCEPTED, type Platform, platformOf, type TcbStatus } from './platform.ts'
import { type TdxPolicy, tdxPolicy } from './policy.ts'

/** The checks of the status, in their order. */
export const STATUS_CHECKS = ['collateral-time', 'tcb-status'] as const

/** The members of an appraisal policy that are asked for here; members.ts says what they may be. */
export type StatusPolicy = Partial<Pick<TdxPolicy, 'acceptStatuses' | 'tcbGrace' | 'maximumCollateralAgeDays'>>

type TcbGrace = NonNullable<StatusPolicy['tcbGrace']>

/** What a platform would be with everything patched. */
const PATCHED: Partial<Readonly<Record<TcbStatus, TcbStatus>>> = {
    OutOfDate: 'UpToDate',
    OutOfDateConfigurationNeeded: 'ConfigurationNeeded',
}

/** What is wrong with a name that somebody wants to accept, or null. */
const unacceptable = (status: string): string | null =>
    ACCEPTABLE_STATUSES.some((known) => known === status)
        ? null
        : `${JSON.stringify(status)} is no TCB status that can be accepted: expected ${ACCEPTABLE_STATUSES.join(', ')}`

/**
 * `Verifier.judgeStatus` under one trust.
 * @throws AttestError ERR_USAGE where the trust names a status that is none, or that nobody may accept
 */
export function statusJudge(trust: Pick<Trust, 'acceptStatuses' | 'withoutStatus'>) {
    const wrong = trust.acceptStatuses.map(unacceptable).find((text) => text !== null)
    if (wrong) throw coreError('ERR_USAGE', wrong)

    /** @throws AttestError ERR_TDX_COLLATERAL_MISSING, ERR_TDX_COLLATERAL_TIME, ERR_TDX_STATUS */
    return function judgeStatus(authentic: Authentic, policy: Policy | null, at: Date, checks: Checks): void {
        const platform = platformOf(authentic)
        const asked: StatusPolicy = policy ? tdxPolicy(policy) : {}
        const { acceptStatuses = [], tcbGrace = {}, maximumCollateralAgeDays } = asked
        const named: readonly string[] = [...trust.acceptStatuses, ...acceptStatuses]
        checks.run('collateral-time', () => {
            if (maximumCollateralAgeDays !== undefined) checkAge(platform, maximumCollateralAgeDays, at)
            return checkFresh(platform, tcbGrace, at)
        })
        if (platform.tcbStatus === null && trust.withoutStatus)
            checks.skip('tcb-status', "Intel's statements on this platform were not given: not checked")
        else checks.run('tcb-status', () => checkStatus(platform, named, tcbGrace, at))
    }
}

function checkFresh({ collateralExpired, earliestExpiry, fmspc }: Platform, grace: TcbGrace, at: Date) {
    if (!collateralExpired) return { detail: `the first to expire does so at ${earliestExpiry.toISOString()}` }
    const { what, at: since } = collateralExpired
    const expired = `${what} expired at ${since.toISOString()}, the time is ${at.toISOString()}`
    const days = grace.staleCollateralDays ?? 0
    if (at.getTime() - since.getTime() <= days * DAY_MS)
        return { detail: `GRACE: ${expired}; the policy accepts that for ${days} days` }
    throw tdxError('ERR_TDX_COLLATERAL_TIME', expired, {
        hint: fetchHint(fmspc),
    })
}

function checkAge({ collateralIssued, fmspc }: Platform, days: number, at: Date): void {
    if (collateralIssued && at.getTime() - collateralIssued.getTime() <= days * DAY_MS) return
    const issued = collateralIssued ? `were issued at ${collateralIssued.toISOString()}` : 'were not given'
    throw tdxError('ERR_TDX_COLLATERAL_TIME', `Intel's statements ${issued}: the policy accepts ${days} days`, {
        hint: fetchHint(fmspc),
    })
}

function checkStatus(platform: Platform, named: readonly string[], grace: TcbGrace, at: Date) {
    const { tcbStatus, fmspc } = platform
    if (tcbStatus === null)
        throw tdxError('ERR_TDX_COLLATERAL_MISSING', `TCB info for FMSPC ${fmspc} and the TD QE identity are needed`, {
            hint: fetchHint(fmspc),
        })
    const detail = describeStatus(platform)
    if (tcbStatus === 'UpToDate') return { detail }
    const accepted = (status: TcbStatus): boolean => status !== NEVER_ACCEPTED && named.includes(status)
    if (accepted(tcbStatus)) return { detail: `ACCEPTED BY NAME: ${detail}` }
    const patched = PATCHED[tcbStatus]
    const days = grace.outOfDateDays ?? 0
    if (
        patched &&
        (patched === 'UpToDate' || accepted(patched)) &&
        platform.tcbDate &&
        at.getTime() - platform.tcbDate.getTime() <= days * DAY_MS
    )
        return { detail: `GRACE: ${detail}; the policy accepts that for ${days} days since the date of the TCB` }
    throw tdxError('ERR_TDX_STATUS', `Intel calls this platform ${detail}`, { hint: HINTS[tcbStatus] })
}

const HINTS: Partial<Readonly<Record<TcbStatus, string>>> = {
    OutOfDate: 'its host needs a firmware or module update; --accept-status accepts it by name',
    TDRelaunchAdvised: 'launch the guest again: its module was updated below it',
    TDRelaunchAdvisedConfigurationNeeded: 'launch the guest again: its module was updated below it',
    NotSupported: 'its TCB is below every level that Intel knows, or the collateral is older than the platform',
}

/** `OutOfDate (platform UpToDate, module OutOfDate, QE UpToDate; TCB of 2024-03-13; INTEL-SA-01036)`. */
function describeStatus(platform: Platform): string {
    const { tcbStatus, platformStatus, moduleStatus, qeStatus, tcbDate, advisoryIds } = platform
    const parts = [`platform ${platformStatus}`, ...(moduleStatus ? [`module ${moduleStatus}`] : []), `QE ${qeStatus}`]
    const date = tcbDate ? [`TCB of ${day(tcbDate)}`] : []
    const advisories = advisoryIds.length > 0 ? [advisoryIds.join(', ')] : []
    return `${tcbStatus} (${[parts.join(', '), ...date, ...advisories].join('; ')})`
}
