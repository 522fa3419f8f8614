// What Intel says of a platform's TCB, and of its TDX module: the levels of TCB info version 3, and how the statuses of
// platform, module and quoting enclave make one. Intel SGX and TDX Provisioning Certification Service API, version 4,
// "Enclave Identity" and "TCB Info V3"; Intel's quote verification library decides likewise, but for a module that was
// exchanged for a worse one.
// SPDX-License-Identifier: Apache-2.0

import { equalBytes, isZero, toHex } from '#core/bytes.ts'
import type { EnclaveLevel, QeIdentity, TcbInfo, TcbLevel } from './collateral/schema.ts'
import { tdxError } from './errors.ts'
import type { Pck } from './pck.ts'
import { type Platform, TCB_STATUSES, type TcbStatus } from './platform.ts'
import type { QeReport, TdBody } from './quote.ts'

/** What is compared with the levels. */
export interface Compared {
    readonly pck: Pick<Pck, 'sgxSvns' | 'pceSvn'>
    readonly body: Pick<TdBody, 'teeTcbSvn' | 'teeTcbSvn2'>
    readonly qe: Pick<QeReport, 'isvSvn'>
}

export type Evaluation = {
    readonly [K in
        | 'tcbStatus'
        | 'platformStatus'
        | 'moduleStatus'
        | 'qeStatus'
        | 'tcbDate'
        | 'advisoryIds'
        | 'relaunchAdvised']: Platform[K]
}

/** The status of a level that was met, or NotSupported where none was. */
interface Met {
    readonly status: TcbStatus
    readonly date: Date | null
    readonly advisories: readonly string[]
}

/** What an out-of-date module or quoting enclave makes of a platform's status; any other stays. */
const OUTDATED: Partial<Readonly<Record<TcbStatus, TcbStatus>>> = {
    UpToDate: 'OutOfDate',
    SWHardeningNeeded: 'OutOfDate',
    ConfigurationNeeded: 'OutOfDateConfigurationNeeded',
    ConfigurationAndSWHardeningNeeded: 'OutOfDateConfigurationNeeded',
}

/** Statuses that a relaunch mends, by whether the platform must be configured too. */
const OLD_LAUNCH: Partial<Readonly<Record<TcbStatus, boolean>>> = {
    OutOfDate: false,
    OutOfDateConfigurationNeeded: true,
}
const GOOD_NOW: Partial<Readonly<Record<TcbStatus, boolean>>> = {
    UpToDate: false,
    SWHardeningNeeded: false,
    ConfigurationNeeded: true,
    ConfigurationAndSWHardeningNeeded: true,
}

/** Whether the module that launched a TD has an identity of its own; its number is that identity's. */
const moduleVersion = (svn: Buffer): number => svn[1] ?? 0

const NOT_SUPPORTED: Met = { status: 'NotSupported', date: null, advisories: [] }

/**
 * Whether the module is one that Intel names for this platform. The seam attributes must be zero whatever it says.
 * @param info null where no TCB info was given: then the signer must be Intel's, which is zero
 * @returns what names it, for a person
 * @throws AttestError ERR_TDX_MODULE
 */
export function checkModule(body: TdBody, info: TcbInfo | null): string {
    if (body.seamAttributes !== 0n)
        throw tdxError('ERR_TDX_MODULE', `SEAM attributes: expected 0, got 0x${body.seamAttributes.toString(16)}`)
    if (!info) {
        if (isZero(body.mrSignerSeam)) return 'signed by Intel; no statement names it'
        throw tdxError('ERR_TDX_MODULE', `MRSIGNERSEAM: expected zero (Intel), got ${toHex(body.mrSignerSeam)}`)
    }
    const version = moduleVersion(body.teeTcbSvn)
    const named = version > 0 ? identityOf(info, version) : info.tdxModule
    const name = version > 0 ? moduleName(version) : 'the first module'
    if (!named)
        throw tdxError('ERR_TDX_MODULE', `Intel names no module ${name} for FMSPC ${toHex(info.fmspc)}`, {
            hint: 'TCB info that is newer may name it',
        })
    if (!equalBytes(named.mrsigner, body.mrSignerSeam))
        throw tdxError(
            'ERR_TDX_MODULE',
            `MRSIGNERSEAM: expected ${toHex(named.mrsigner)}, got ${toHex(body.mrSignerSeam)}`,
        )
    // The attributes of the quote are zero, whatever the mask.
    if (!isZero(named.attributes))
        throw tdxError('ERR_TDX_MODULE', `SEAM attributes: expected ${toHex(named.attributes)}, got zero`)
    return name
}

/** What Intel says of platform, module and quoting enclave together. */
export function evaluateTcb(compared: Compared, info: TcbInfo, identity: QeIdentity): Evaluation {
    const { body } = compared
    const launched = evaluateSvn(compared, body.teeTcbSvn, info, identity)
    const now = body.teeTcbSvn2 ? evaluateSvn(compared, body.teeTcbSvn2, info, identity) : launched
    const relaunch = relaunchStatus(launched.tcbStatus, now.tcbStatus)
    if (relaunch !== null) return { ...launched, tcbStatus: relaunch, relaunchAdvised: true }
    // Intel's library asks for the module that runs now only where the one that launched the TD is out of date.
    if (rankOf(now.tcbStatus) <= rankOf(launched.tcbStatus)) return { ...launched, relaunchAdvised: false }
    return {
        ...now,
        tcbDate: now.tcbDate && launched.tcbDate && now.tcbDate > launched.tcbDate ? launched.tcbDate : now.tcbDate,
        advisoryIds: merged([...launched.advisoryIds, ...now.advisoryIds]),
        relaunchAdvised: false,
    }
}

const rankOf = (status: TcbStatus): number => TCB_STATUSES.indexOf(status)

const merged = (ids: readonly string[]): string[] => [...new Set(ids)].toSorted((a, b) => (a < b ? -1 : 1))

function evaluateSvn({ pck, qe }: Compared, svn: Buffer, info: TcbInfo, identity: QeIdentity) {
    const platform = met(info.tcbLevels.find((level) => meets(level, pck, svn)))
    const module = moduleVersion(svn) > 0 ? moduleLevel(info, svn) : null
    const enclave = met(identity.tcbLevels.find(({ tcb }) => tcb.isvsvn <= qe.isvSvn))
    const all = [platform, enclave, ...(module ? [module] : [])]
    const dates = all.map(({ date }) => date?.getTime() ?? Number.NaN)
    return {
        tcbStatus: converge(platform.status, [enclave.status, ...(module ? [module.status] : [])]),
        platformStatus: platform.status,
        moduleStatus: module?.status ?? null,
        qeStatus: enclave.status,
        // Where a level was not met, there is no date.
        tcbDate: dates.includes(Number.NaN) ? null : new Date(Math.min(...dates)),
        advisoryIds: merged(all.flatMap(({ advisories }) => advisories)),
    }
}

/** One status of that of the platform and those of module and quoting enclave. */
export function converge(platform: TcbStatus, others: readonly TcbStatus[]): TcbStatus {
    const all = [platform, ...others]
    if (all.includes('Revoked')) return 'Revoked'
    if (all.includes('NotSupported')) return 'NotSupported'
    return others.includes('OutOfDate') ? (OUTDATED[platform] ?? platform) : platform
}

/** What is said of a TD whose module was updated below it; null where launching it again would mend nothing. */
export function relaunchStatus(launched: TcbStatus, now: TcbStatus): TcbStatus | null {
    const old = OLD_LAUNCH[launched]
    const good = GOOD_NOW[now]
    if (old === undefined || good === undefined) return null
    return old || good ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised'
}

// A module with an identity of its own has its version and SVN in the first two components: those are its levels' matter.
function meets({ tcb }: TcbLevel, { sgxSvns, pceSvn }: Compared['pck'], svn: Buffer): boolean {
    if (tcb.pcesvn > pceSvn || !covers(sgxSvns, tcb.sgxtcbcomponents, 0)) return false
    return covers(svn, tcb.tdxtcbcomponents, moduleVersion(svn) > 0 ? 2 : 0)
}

const covers = (have: Buffer, want: Buffer, from: number): boolean =>
    want.every((component, i) => i < from || component <= (have[i] ?? 0))

const moduleName = (version: number): string => `TDX_${version.toString(16).padStart(2, '0').toUpperCase()}`

const identityOf = ({ tdxModuleIdentities = [] }: TcbInfo, version: number) =>
    tdxModuleIdentities.find(({ id }) => id.toUpperCase() === moduleName(version))

const moduleLevel = (info: TcbInfo, svn: Buffer): Met =>
    met(identityOf(info, moduleVersion(svn))?.tcbLevels.find(({ tcb }) => tcb.isvsvn <= (svn[0] ?? 0)))

const met = (level: TcbLevel | EnclaveLevel | undefined): Met =>
    level ? { status: level.tcbStatus, date: level.tcbDate, advisories: level.advisoryIDs ?? [] } : NOT_SUPPORTED
