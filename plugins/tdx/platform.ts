// What Intel says of a platform that made a quote: the result of the check of authenticity beside the quote itself.
// SPDX-License-Identifier: Apache-2.0

import type { Authentic } from '#evidence/verifier.ts'

/** Intel's words for a TCB, from the best to the worst, and the absence of any. */
export const TCB_STATUSES = [
    'UpToDate',
    'SWHardeningNeeded',
    'ConfigurationNeeded',
    'ConfigurationAndSWHardeningNeeded',
    'TDRelaunchAdvised',
    'TDRelaunchAdvisedConfigurationNeeded',
    'OutOfDate',
    'OutOfDateConfigurationNeeded',
    'NotSupported',
    'Revoked',
] as const

export type TcbStatus = (typeof TCB_STATUSES)[number]

/** What nobody can have accepted: Intel says that it is broken. */
export const NEVER_ACCEPTED: TcbStatus = 'Revoked'

/** The statuses that a caller or a policy may accept by name. */
export const ACCEPTABLE_STATUSES: readonly TcbStatus[] = TCB_STATUSES.filter((status) => status !== NEVER_ACCEPTED)

/** A platform, as its PCK certificate and Intel's statements describe it. What no statement was given for is null. */
export interface Platform {
    /** Platform, module and quoting enclave together; null where Intel's statements were not given. */
    readonly tcbStatus: TcbStatus | null
    /** The status of the TCB level of the processor and its firmware alone. */
    readonly platformStatus: TcbStatus | null
    /** The status of the TDX module, or null where the TCB level covers it. */
    readonly moduleStatus: TcbStatus | null
    readonly qeStatus: TcbStatus | null
    /** The earliest date of the levels that were met: what was patched until then is patched. */
    readonly tcbDate: Date | null
    /** Of every level that was met, sorted, each once. */
    readonly advisoryIds: readonly string[]
    /** Whether the module was updated below a running TD, which runs on with what the old one left in it. */
    readonly relaunchAdvised: boolean
    /** The lowest of the evaluation numbers of TCB info and QE identity. */
    readonly tcbEvaluationDataNumber: number | null
    readonly tcbInfoEvaluationDataNumber: number | null
    readonly qeIdentityEvaluationDataNumber: number | null
    /** The first to expire of certificates, revocation lists and statements. */
    readonly earliestExpiry: Date
    /** When the older of Intel's statements was issued; null where none was given. */
    readonly collateralIssued: Date | null
    /** What of Intel's statements has expired, and when; null where nothing has. */
    readonly collateralExpired: { readonly what: string; readonly at: Date } | null

    /** Lower-case hex, 6 bytes: family, model, stepping, platform type, custom SKU. */
    readonly fmspc: string
    /** Lower-case hex, 2 bytes. */
    readonly pceId: string
    /** SHA-256 of the PPID, lower-case hex: names the processor without telling its PPID. */
    readonly ppidHash: string
    /** Which CA issued the PCK. */
    readonly pckCa: 'platform' | 'processor'
    readonly sgxType: 'Standard' | 'Scalable' | 'ScalableWithIntegrity'
    /** Null where a Processor CA issued the PCK: it does not say. */
    readonly dynamicPlatform: boolean | null
    readonly cachedKeys: boolean | null
    readonly smtEnabled: boolean | null
    readonly pceSvn: number
    readonly qeIsvSvn: number
    /** The numbers of the revocation lists, decimal; null where a list was not given, or has none. */
    readonly pckCrlNumber: string | null
    readonly rootCrlNumber: string | null
    /** True where a certificate is marked as an emulator's. */
    readonly emulated: boolean
}

/** What `authenticate` returns of a TD. */
export interface TdxAuthentic extends Authentic {
    readonly platform: Platform
}

/** The platform that was found authentic; only what `authenticate` of this technology returned has one. */
export function platformOf(authentic: Authentic): Platform {
    const { platform } = authentic as Partial<TdxAuthentic>
    if (platform) return platform
    throw new TypeError('this evidence was not authenticated as that of a TD')
}
