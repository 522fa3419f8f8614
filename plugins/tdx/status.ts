// Is what Intel says of the platform acceptable? UpToDate is; any other status only where the caller or a policy names it,
// or within a grace that a policy gives, and each of them is said. What has expired says nothing of today.
// SPDX-License-Identifier: Apache-2.0

import type { Checks } from '#core/checks.ts'
import { coreError } from '#core/errors.ts'
import type { Authentic, Policy, Trust } from '#evidence/verifier.ts'
import { tdxError } from './errors.ts'
import { type Platform, platformOf, TCB_STATUSES, type TcbStatus } from './platform.ts'

/** The checks of the status, in their order. */
export const STATUS_CHECKS = ['collateral-time', 'tcb-status'] as const

/** What an appraisal policy may say of it. */
export interface StatusPolicy {
    readonly acceptStatuses?: readonly string[]
    readonly tcbGrace?: TcbGrace
    /** Days since the older of Intel's statements was issued; they may hold for longer. */
    readonly maximumCollateralAgeDays?: number
}

export interface TcbGrace {
    /** Days since the date of the TCB level that a platform out of date has. */
    readonly outOfDateDays?: number
    /** Days since Intel's statements or revocation lists expired. */
    readonly staleCollateralDays?: number
}

/** What nobody can have accepted: Intel says that it is broken. */
const NEVER: TcbStatus = 'Revoked'

/** The statuses that may be accepted by name. */
export const ACCEPTABLE_STATUSES: readonly TcbStatus[] = TCB_STATUSES.filter((status) => status !== NEVER)

/** What a platform would be with everything patched. */
const PATCHED: Partial<Readonly<Record<TcbStatus, TcbStatus>>> = {
    OutOfDate: 'UpToDate',
    OutOfDateConfigurationNeeded: 'ConfigurationNeeded',
}

const DAY_MS = 24 * 60 * 60 * 1000

/** What is wrong with a name that somebody wants to accept, or null. */
export const unacceptable = (status: string): string | null =>
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
        const { acceptStatuses = [], tcbGrace = {}, maximumCollateralAgeDays } = (policy ?? {}) as StatusPolicy
        const named = [...trust.acceptStatuses, ...acceptStatuses]
        checks.run('collateral-time', () => {
            if (maximumCollateralAgeDays !== undefined) checkAge(platform, maximumCollateralAgeDays, at)
            return checkFresh(platform, tcbGrace, at)
        })
        if (platform.tcbStatus === null && trust.withoutStatus)
            checks.skip('tcb-status', "Intel's statements on this platform were not given: not checked")
        else checks.run('tcb-status', () => checkStatus(platform, named, tcbGrace, at))
    }
}

function checkFresh({ collateralExpired, earliestExpiry }: Platform, grace: TcbGrace, at: Date) {
    if (!collateralExpired) return { detail: `the first to expire does so at ${earliestExpiry.toISOString()}` }
    const { what, at: since } = collateralExpired
    const expired = `${what} expired at ${since.toISOString()}, the time is ${at.toISOString()}`
    const days = grace.staleCollateralDays ?? 0
    if (at.getTime() - since.getTime() <= days * DAY_MS)
        return { detail: `GRACE: ${expired}; the policy accepts that for ${days} days` }
    throw tdxError('ERR_TDX_COLLATERAL_TIME', expired, {
        hint: "fetch Intel's current statements and revocation lists, and give them with --collateral",
    })
}

function checkAge({ collateralIssued }: Platform, days: number, at: Date): void {
    if (collateralIssued && at.getTime() - collateralIssued.getTime() <= days * DAY_MS) return
    const issued = collateralIssued ? `were issued at ${collateralIssued.toISOString()}` : 'were not given'
    throw tdxError('ERR_TDX_COLLATERAL_TIME', `Intel's statements ${issued}: the policy accepts ${days} days`, {
        hint: "fetch Intel's current statements, and give them with --collateral",
    })
}

function checkStatus(platform: Platform, named: readonly string[], grace: TcbGrace, at: Date) {
    const { tcbStatus, fmspc } = platform
    if (tcbStatus === null)
        throw tdxError('ERR_TDX_COLLATERAL_MISSING', `TCB info for FMSPC ${fmspc} and the TD QE identity are needed`, {
            hint: `https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=${fmspc} and …/v4/qe/identity have them: give them with --collateral`,
        })
    const detail = describeStatus(platform)
    if (tcbStatus === 'UpToDate') return { detail }
    const accepted = (status: TcbStatus): boolean => status !== NEVER && named.includes(status)
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
    const date = tcbDate ? [`TCB of ${tcbDate.toISOString().slice(0, 10)}`] : []
    const advisories = advisoryIds.length > 0 ? [advisoryIds.join(', ')] : []
    return `${tcbStatus} (${[parts.join(', '), ...date, ...advisories].join('; ')})`
}
