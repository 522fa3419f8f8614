// The members of an appraisal policy of TDX, one row each: what it may be, how it is judged, and what `policy init`
// writes. The schema, the checks and the written policy are made of this table. A row without a judge belongs to the
// check of the platform's status (status.ts), which asks for it.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import {
    allowed,
    type Claims,
    type ClaimValue,
    claimAt,
    isZeroHex,
    itself,
    listOf,
    lowerHex,
    type Member,
    member,
    type Outcome,
    oneOf,
    switchedOff,
} from '#core/policy-table.ts'
import { TD_ATTRIBUTES } from './attributes.ts'
import { type TDX_ERRORS, tdxError } from './errors.ts'
import { RTMRS, type RtmrName } from './event-log/ccel.ts'
import { ACCEPTABLE_STATUSES, type TcbStatus } from './platform.ts'

const refuse = (code: keyof typeof TDX_ERRORS) => (text: string) => tdxError(code, text)

const digest = lowerHex(48)
const word = lowerHex(8)
const svn16 = z.int().check(z.gte(0), z.lte(0xffff))
const days = z.optional(z.int().check(z.gte(0), z.lte(3650)))
const ZERO_DIGEST = '00'.repeat(48)

// A date of TOML, or its text.
const moment = z.pipe(
    z.union([z.date(), z.iso.datetime({ offset: true }), z.iso.date()]),
    z.transform((value: Date | string) => new Date(value).toISOString()),
)

type AttributeName = keyof typeof TD_ATTRIBUTES.table
const attributeNames = Object.keys(TD_ATTRIBUTES.table) as AttributeName[]

/** One register that the guest measures into. */
const register = (name: RtmrName, says?: string) =>
    member({
        schema: listOf(digest),
        check: name,
        claim: name,
        judge: oneOf(refuse('ERR_TDX_POLICY_RTMR'), name.toUpperCase()),
        ...(says === undefined ? {} : { says }),
        strictest: itself,
    })

/** Something of 48 bytes that the host gave at launch. */
const given = (name: 'mrConfigId' | 'mrOwner' | 'mrOwnerConfig', check: string, says?: string) =>
    member({
        schema: listOf(digest),
        check,
        claim: name,
        judge: oneOf(refuse('ERR_TDX_POLICY_CONFIG'), name),
        ...(says === undefined ? {} : { says }),
        strictest: itself,
    })

/** A word of which only these bits may be set. */
const mask = (check: string, claim: string, title: string) =>
    member({
        schema: z.optional(word),
        check,
        claim,
        judge: withinMask(title),
        strictest: () => undefined,
        example: (value = '...') => `"${String(value)}"   # a mask: no other bit may be set`,
    })

/** A number that has to be reached. */
const atLeast = (check: string, claim: string, title: string, says?: string) =>
    member({
        schema: z.optional(svn16),
        check,
        claim,
        judge: notBelow(title),
        ...(says === undefined ? {} : { says }),
        strictest: (value) => (typeof value === 'number' ? value : undefined),
        example: () => '0',
    })

/** In the order of the checks. */
export const MEMBERS = {
    measurements: member({
        schema: listOf(digest),
        check: 'measurement',
        claim: 'mrTd',
        judge: oneOf(refuse('ERR_TDX_POLICY_MEASUREMENT'), 'MRTD'),
        says: 'MRTD: digest of the firmware that the guest was launched with, and of nothing else.',
        strictest: itself,
    }),
    rtmr0: register(
        'rtmr0',
        'RTMR0: the machine that the host gave the firmware. It differs with the size of the machine; without it, the tables of the host (ACPI, with code that the kernel runs) are anything.',
    ),
    rtmr1: register(
        'rtmr1',
        'RTMR1 and RTMR2: boot loader and kernel; command line and initrd. Both have to be named before a reference set may say that it covers them.',
    ),
    rtmr2: register('rtmr2'),
    rtmr3: register('rtmr3', 'RTMR3: what the running guest measured. Leave it out where guests go on measuring.'),
    mrConfigId: given('mrConfigId', 'mr-config-id', 'What the host put in at launch (48 bytes each).'),
    mrOwner: given('mrOwner', 'mr-owner'),
    mrOwnerConfig: given('mrOwnerConfig', 'mr-owner-config'),
    mrServiceTd: member({
        schema: z._default(z.array(digest).check(z.minLength(1)), [ZERO_DIGEST]),
        check: 'service-td',
        claim: 'mrServiceTd',
        judge: ofServiceTd,
        says: 'Digests of the service TDs that may be bound to the guest (one that migrates it can read it); zero is none.',
        strictest: () => [ZERO_DIGEST],
    }),
    debug: member({
        schema: switchedOff,
        check: 'debug',
        claim: 'untrusted',
        judge: allowed(refuse('ERR_TDX_POLICY_DEBUG'), 'debugging or profiling'),
        says: 'May the host debug or profile the guest? Never true for a guest that keeps secrets.',
        strictest: () => false,
    }),
    migration: member({
        schema: switchedOff,
        check: 'migration',
        claim: 'attributes.migratable',
        judge: allowed(refuse('ERR_TDX_POLICY_MIGRATION'), 'migration'),
        says: 'May the guest be moved to another machine by a migration TD?',
        strictest: () => false,
    }),
    tdAttributes: member({
        schema: listOf(word),
        check: 'td-attributes',
        claim: 'tdAttributes',
        judge: oneOf(refuse('ERR_TDX_POLICY_ATTRIBUTES'), 'TD attributes'),
        says: 'Attributes of the TD: the whole word, a mask of what may be set, names of what must be.',
        strictest: itself,
    }),
    tdAttributesMask: mask('td-attributes-mask', 'tdAttributes', 'TD attributes'),
    requiredAttributes: member({
        schema: listOf(z.enum(attributeNames)),
        check: 'required-attributes',
        claim: 'attributes',
        judge: hasAttributes,
        strictest: (attributes): AttributeName[] | undefined =>
            (attributes as Claims | undefined)?.['septVeDisable'] === true ? ['septVeDisable'] : undefined,
        example: () => '["septVeDisable"]',
    }),
    xfam: member({
        schema: listOf(word),
        check: 'xfam',
        claim: 'xfam',
        judge: oneOf(refuse('ERR_TDX_POLICY_ATTRIBUTES'), 'XFAM'),
        says: 'Features of the processor that the guest may use: the whole word, or a mask of what may be set.',
        strictest: () => undefined,
        example: listed,
    }),
    xfamMask: mask('xfam-mask', 'xfam', 'XFAM'),
    mrSeam: member({
        schema: listOf(digest),
        check: 'mr-seam',
        claim: 'mrSeam',
        judge: oneOf(refuse('ERR_TDX_POLICY_MODULE'), 'TDX module'),
        says: 'Digests of the TDX module. Leave it out if the host may update it: Intel says which ones are its own.',
        strictest: () => undefined,
        example: listed,
    }),
    minimumTeeTcbSvn: member({
        schema: z.optional(lowerHex(16)),
        check: 'minimum-tee-tcb-svn',
        claim: 'teeTcbSvn',
        judge: notBelowSvns,
        says: 'The least versions of TDX module and loader (16 bytes, each counts by itself), enclaves, and of what Intel says.',
        strictest: (svns) => (svns === undefined ? undefined : String(svns)),
        example: () => '"..."   # 16 bytes in hex',
    }),
    minimumQeSvn: atLeast('minimum-qe-svn', 'qeIsvSvn', 'SVN of the quoting enclave'),
    minimumPceSvn: atLeast('minimum-pce-svn', 'pceSvn', 'SVN of the provisioning enclave'),
    minimumTcbEvaluationDataNumber: atLeast(
        'minimum-tcb-evaluation',
        'tcbEvaluationDataNumber',
        "number of Intel's evaluation",
    ),
    minimumTcbDate: member({
        schema: z.optional(moment),
        check: 'minimum-tcb-date',
        claim: 'tcbDate',
        judge: notBefore,
        strictest: (date) => (date === undefined ? undefined : String(date)),
        example: () => '"2026-01-01"',
    }),
    allowedAdvisories: member({
        schema: z.optional(z.array(z.string())),
        check: 'advisories',
        claim: 'advisoryIds',
        judge: onlyAllowed,
        says: "Advisories of Intel's that the platform may be open to.",
        strictest: (ids) => (Array.isArray(ids) ? ids.map(String) : undefined),
        example: () => '[]',
    }),
    qeVendorIds: member({
        schema: listOf(lowerHex(16)),
        check: 'qe-vendor',
        claim: 'qeVendorId',
        judge: oneOf(refuse('ERR_TDX_POLICY_PLATFORM'), 'vendor of the quoting enclave'),
        says: 'Only quoting enclaves of these vendors, platforms of these kinds (FMSPC), or these processors.',
        strictest: () => undefined,
        example: listed,
    }),
    fmspcs: member({
        schema: listOf(lowerHex(6)),
        check: 'fmspc',
        claim: 'fmspc',
        judge: oneOf(refuse('ERR_TDX_POLICY_PLATFORM'), 'FMSPC'),
        strictest: itself,
    }),
    ppidHashes: member({
        schema: listOf(lowerHex(32)),
        check: 'ppid',
        claim: 'ppidHash',
        judge: oneOf(refuse('ERR_TDX_POLICY_PLATFORM'), 'hash of the PPID'),
        strictest: () => undefined,
        example: listed,
    }),
    requireEventLog: member({
        schema: switchedOff,
        check: 'event-log-required',
        claim: 'eventLog',
        judge: hasEventLog,
        says: 'Must the guest send the log of its boot? Below [trustedEvents], the digests of which its registers may be made.',
        strictest: () => false,
    }),
    trustedEvents: member({
        schema: z.optional(
            z.strictObject(
                Object.fromEntries(RTMRS.map((name) => [name, listOf(digest)])) as Record<
                    RtmrName,
                    z.ZodMiniOptional<z.ZodMiniArray<typeof digest>>
                >,
            ),
        ),
        check: 'trusted-events',
        claim: 'eventLog.digests',
        judge: onlyTrusted,
        strictest: () => undefined,
        example: () => '{ rtmr2 = ["..."] }',
    }),
    acceptStatuses: member({
        schema: listOf(z.enum(ACCEPTABLE_STATUSES as [TcbStatus, ...TcbStatus[]])),
        check: 'tcb-status',
        claim: 'tcbStatus',
        says: "What of Intel's words on the platform is accepted beside UpToDate; how long a TCB out of date is (from its date on) and statements that have expired; and how old those may be that have not.",
        // Who writes from evidence of such a platform has accepted it by name, or it would have been refused before.
        strictest: (status) => acceptable(status),
        example: () => '["SWHardeningNeeded"]',
    }),
    tcbGrace: member({
        schema: z.optional(z.strictObject({ outOfDateDays: days, staleCollateralDays: days })),
        check: 'tcb-status',
        claim: 'tcbDate',
        strictest: () => undefined,
        example: () => '{ outOfDateDays = 30, staleCollateralDays = 7 }',
    }),
    maximumCollateralAgeDays: member({
        schema: days,
        check: 'collateral-time',
        claim: 'collateralIssued',
        strictest: () => undefined,
        example: () => '30',
    }),
} as const satisfies Readonly<Record<string, Member>>

function acceptable(claim: ClaimValue | undefined): TcbStatus[] | undefined {
    const status = ACCEPTABLE_STATUSES.find((name) => name === claim)
    return status === undefined || status === 'UpToDate' ? undefined : [status]
}

function listed(value: ClaimValue | undefined): string {
    return `["${value === undefined ? '...' : String(value)}"]`
}

// A quote of TDX 1.0 does not tell: it is taken for none.
function ofServiceTd(accepted: readonly string[], claim: ClaimValue | undefined): Outcome {
    const got = claim === undefined ? ZERO_DIGEST : String(claim)
    if (!accepted.includes(got))
        throw tdxError('ERR_TDX_POLICY_SERVICE_TD', `service TD: expected ${accepted.join(' or ')}, got ${got}`)
    return { detail: isZeroHex(got) ? 'none is bound' : got }
}

function withinMask(title: string) {
    return (bits: string, claim: ClaimValue | undefined): Outcome => {
        const beyond = BigInt(`0x${String(claim)}`) & ~BigInt(`0x${bits}`)
        if (beyond === 0n) return { detail: String(claim) }
        throw tdxError(
            'ERR_TDX_POLICY_ATTRIBUTES',
            `${title}: expected no bit beside ${bits}, got ${String(claim)} (0x${beyond.toString(16)} too many)`,
        )
    }
}

function hasAttributes(required: readonly string[], claim: ClaimValue | undefined): Outcome {
    const missing = required.filter((name) => (claim as Claims)[name] !== true)
    if (missing.length === 0) return { detail: required.join(', ') }
    throw tdxError('ERR_TDX_POLICY_ATTRIBUTES', `the TD has not: ${missing.join(', ')}`)
}

function notBelow(title: string) {
    return (least: number, claim: ClaimValue | undefined): Outcome => {
        if (typeof claim === 'number' && claim >= least) return { detail: String(claim) }
        throw tdxError('ERR_TDX_POLICY_TCB', `${title}: expected at least ${least}, got ${told(claim)}`)
    }
}

function notBelowSvns(least: string, claim: ClaimValue | undefined): Outcome {
    const got = Buffer.from(String(claim), 'hex')
    const low = Buffer.from(least, 'hex').findIndex((svn, at) => (got[at] ?? -1) < svn)
    if (low < 0) return { detail: String(claim) }
    throw tdxError('ERR_TDX_POLICY_TCB', `TEE TCB SVN, byte ${low}: expected at least ${least}, got ${told(claim)}`)
}

function notBefore(least: string, claim: ClaimValue | undefined): Outcome {
    if (typeof claim === 'string' && Date.parse(claim) >= Date.parse(least)) return { detail: claim }
    throw tdxError('ERR_TDX_POLICY_TCB', `TCB date: expected ${least} or later, got ${told(claim)}`)
}

function onlyAllowed(accepted: readonly string[], claim: ClaimValue | undefined, claims: Claims): Outcome {
    if (claims['tcbStatus'] === undefined)
        throw tdxError('ERR_TDX_POLICY_ADVISORY', "advisories: not known without Intel's statements")
    const others = (claim as readonly string[]).filter((id) => !accepted.includes(id))
    if (others.length === 0) return { detail: (claim as readonly string[]).join(', ') || 'none' }
    throw tdxError('ERR_TDX_POLICY_ADVISORY', `advisories: ${others.join(', ')} are not accepted`)
}

function hasEventLog(required: boolean, claim: ClaimValue | undefined): Outcome {
    if (claim !== undefined) return { detail: 'it was sent' }
    if (!required) return { detail: 'it was not sent, and is not required' }
    throw tdxError('ERR_TDX_POLICY_EVENT_LOG', 'the event log was not sent', {
        hint: '`guest-attest evidence --event-log` sends it',
    })
}

function onlyTrusted(
    trusted: Readonly<Partial<Record<RtmrName, readonly string[] | undefined>>>,
    claim: ClaimValue | undefined,
): Outcome {
    if (claim === undefined)
        throw tdxError('ERR_TDX_POLICY_EVENT_LOG', 'trusted events are named, and the event log was not sent')
    for (const name of RTMRS) {
        const accepted = trusted[name]
        const got = claimAt(claim as Claims, name) as readonly string[]
        const other = accepted && got.find((value) => !accepted.includes(value))
        if (other) throw tdxError('ERR_TDX_POLICY_EVENT_LOG', `${name} was extended by ${other}, which is not trusted`)
    }
    return { detail: `every event of ${Object.keys(trusted).join(', ')}` }
}

const told = (claim: ClaimValue | undefined): string => (claim === undefined ? 'nothing' : String(claim))
