// What an emulated vendor says of its platforms: TCB info version 3, QE identity version 2, and both with lists and
// chains in one file. Intel SGX and TDX Provisioning Certification Service, API version 4; the bundle is what quote
// verifiers pass to each other. A signature is over the bytes of the inner object as they stand, r and s in hex.
// SPDX-License-Identifier: Apache-2.0

import { type KeyObject, sign } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { DAY_MS } from '#core/dates.ts'
import { certificatePem } from '#core/mint.ts'
import type { TcbStatus } from '../platform.ts'
import { TD_QE } from '../qe.ts'
import { DEFAULT_PLATFORM, type MintedPlatform, type VendorCertificates, type VendorLists } from './mint.ts'

/** The inner object as it was signed, and the signature in hex. */
export interface Signed {
    readonly inner: string
    readonly signature: string
}

/** The names of the inner objects, as Intel's service wraps them. */
export type StatementName = 'tcbInfo' | 'enclaveIdentity'

export interface StatementTimes {
    readonly issueDate: Date
    readonly nextUpdate: Date
    readonly tcbEvaluationDataNumber: number
}

/** A level of the platform: the least that each component has to have. */
export interface Level {
    readonly sgxSvns: readonly number[]
    readonly pceSvn: number
    readonly tdxSvns: readonly number[]
    readonly tcbDate: string
    readonly tcbStatus: TcbStatus
    readonly advisoryIDs?: readonly string[]
}

/** A level of a module or of an enclave. */
export interface IsvLevel {
    readonly tcb: { readonly isvsvn: number }
    readonly tcbDate: string
    readonly tcbStatus: TcbStatus
    readonly advisoryIDs?: readonly string[]
}

export interface ModuleIdentity {
    /** `TDX_` and the module's version, two digits of hex. */
    readonly id: string
    readonly mrsigner: string
    readonly attributes: string
    readonly attributesMask: string
    readonly tcbLevels: readonly IsvLevel[]
}

/** Days; Intel's hold a month. These need no vendor that issues the next ones. */
const STATEMENT_DAYS = 365

const EVALUATION_NUMBER = 18

/**
 * The level of the processor's late microcode (component 2 of TEE_TCB_SVN) that each status begins at: one platform can
 * play all of them. Below the last there is none.
 */
export const STATUS_SVNS = {
    UpToDate: 8,
    SWHardeningNeeded: 7,
    ConfigurationNeeded: 6,
    ConfigurationAndSWHardeningNeeded: 5,
    OutOfDate: 4,
    OutOfDateConfigurationNeeded: 3,
    Revoked: 2,
    NotSupported: 1,
} as const satisfies Partial<Record<TcbStatus, number>>

const ADVISORIES: Partial<Record<TcbStatus, readonly string[]>> = {
    SWHardeningNeeded: ['EMULATED-SA-00001'],
    ConfigurationNeeded: ['EMULATED-SA-00002'],
    ConfigurationAndSWHardeningNeeded: ['EMULATED-SA-00001', 'EMULATED-SA-00002'],
    OutOfDate: ['EMULATED-SA-00003'],
    OutOfDateConfigurationNeeded: ['EMULATED-SA-00002', 'EMULATED-SA-00003'],
    Revoked: ['EMULATED-SA-00004'],
}

const ZERO_SIGNER = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'FF'.repeat(8) } as const

/** Versions of the module that are known, and what they are called from which SVN on. */
export const DEFAULT_MODULES: readonly ModuleIdentity[] = [
    {
        id: 'TDX_03',
        ...ZERO_SIGNER,
        tcbLevels: [{ tcb: { isvsvn: 3 }, tcbDate: '2024-11-13T00:00:00Z', tcbStatus: 'UpToDate' }],
    },
    {
        id: 'TDX_01',
        ...ZERO_SIGNER,
        tcbLevels: [
            { tcb: { isvsvn: 6 }, tcbDate: '2024-11-13T00:00:00Z', tcbStatus: 'UpToDate' },
            {
                tcb: { isvsvn: 4 },
                tcbDate: '2024-03-13T00:00:00Z',
                tcbStatus: 'OutOfDate',
                advisoryIDs: ['EMULATED-SA-00005'],
            },
            { tcb: { isvsvn: 1 }, tcbDate: '2023-02-15T00:00:00Z', tcbStatus: 'Revoked' },
        ],
    },
]

/** The quoting enclave: its report has these. Signer and product are those that are known without an identity. */
export const DEFAULT_QE = {
    miscselect: '00000000',
    miscselectMask: 'FFFFFFFF',
    attributes: '11000000000000000000000000000000',
    attributesMask: 'FBFFFFFFFFFFFFFF0000000000000000',
    mrsigner: TD_QE.mrSigner.toUpperCase(),
    isvprodid: TD_QE.isvProdId,
    tcbLevels: [
        { tcb: { isvsvn: 4 }, tcbDate: '2024-11-13T00:00:00Z', tcbStatus: 'UpToDate' },
        {
            tcb: { isvsvn: 3 },
            tcbDate: '2023-02-15T00:00:00Z',
            tcbStatus: 'OutOfDate',
            advisoryIDs: ['EMULATED-SA-00006'],
        },
        { tcb: { isvsvn: 1 }, tcbDate: '2021-11-10T00:00:00Z', tcbStatus: 'Revoked' },
    ] satisfies IsvLevel[] as readonly IsvLevel[],
} as const

/** Levels that one platform can be at by its late microcode alone, the best first, as Intel lists them. */
export function defaultLevels({ sgxSvns, pceSvn }: MintedPlatform = DEFAULT_PLATFORM): Level[] {
    return Object.entries(STATUS_SVNS)
        .filter(([status]) => status !== 'NotSupported')
        .map(([status, svn], index) => {
            const tcbStatus = status as TcbStatus
            const advisoryIDs = ADVISORIES[tcbStatus]
            return {
                sgxSvns,
                pceSvn,
                tdxSvns: [5, 0, svn, ...Array<number>(13).fill(0)],
                tcbDate: `${2024 - index}-11-13T00:00:00Z`,
                tcbStatus,
                ...(advisoryIDs && { advisoryIDs }),
            }
        })
}

/** The content of TCB info; what is changed replaces members as they stand. */
export function tcbInfo(
    now: Date,
    {
        platform = DEFAULT_PLATFORM,
        levels = defaultLevels(platform),
        modules = DEFAULT_MODULES,
        times = {},
    }: {
        readonly platform?: MintedPlatform
        readonly levels?: readonly Level[]
        /** Null: without the member, as before there were several. */
        readonly modules?: readonly ModuleIdentity[] | null
        readonly times?: Partial<StatementTimes>
    } = {},
    changed: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
    return {
        id: 'TDX',
        version: 3,
        ...timesOf(now, times),
        fmspc: toHex(platform.fmspc),
        pceId: toHex(platform.pceId),
        tcbType: 0,
        tcbEvaluationDataNumber: times.tcbEvaluationDataNumber ?? EVALUATION_NUMBER,
        tdxModule: ZERO_SIGNER,
        ...(modules && { tdxModuleIdentities: modules }),
        tcbLevels: levels.map(({ sgxSvns, pceSvn, tdxSvns, ...rest }) => ({
            tcb: {
                sgxtcbcomponents: sgxSvns.map((svn) => ({ svn })),
                pcesvn: pceSvn,
                tdxtcbcomponents: tdxSvns.map((svn) => ({ svn })),
            },
            ...rest,
        })),
        ...changed,
    }
}

/** The content of the QE identity. */
export function qeIdentity(
    now: Date,
    times: Partial<StatementTimes> = {},
    changed: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
    return {
        id: 'TD_QE',
        version: 2,
        ...timesOf(now, times),
        tcbEvaluationDataNumber: times.tcbEvaluationDataNumber ?? EVALUATION_NUMBER,
        ...DEFAULT_QE,
        ...changed,
    }
}

/** Signs an inner object, or its text as it stands. */
export function signStatement(content: Readonly<Record<string, unknown>> | string, tcbSigning: KeyObject): Signed {
    const inner = typeof content === 'string' ? content : JSON.stringify(content)
    return {
        inner,
        signature: toHex(sign('sha256', Buffer.from(inner), { key: tcbSigning, dsaEncoding: 'ieee-p1363' })),
    }
}

/** As Intel's service answers. */
export const statementText = (name: StatementName, { inner, signature }: Signed): string =>
    `{"${name}":${inner},"signature":"${signature}"}`

/** Everything that a verifier needs beside the root, in nine members. */
export function bundle(
    { root, platform, tcbSigning }: VendorCertificates,
    lists: VendorLists,
    info: Signed,
    identity: Signed,
): Record<string, string> {
    const chain = (...certificates: readonly Buffer[]) => certificates.map(certificatePem).join('')
    return {
        pck_crl_issuer_chain: chain(platform, root),
        root_ca_crl: toHex(lists.root),
        pck_crl: toHex(lists.pck),
        tcb_info_issuer_chain: chain(tcbSigning, root),
        tcb_info: info.inner,
        tcb_info_signature: info.signature,
        qe_identity_issuer_chain: chain(tcbSigning, root),
        qe_identity: identity.inner,
        qe_identity_signature: identity.signature,
    }
}

function timesOf(now: Date, { issueDate, nextUpdate }: Partial<StatementTimes>): Record<string, string> {
    const since = issueDate ?? new Date(now.getTime() - DAY_MS)
    const until = nextUpdate ?? new Date(since.getTime() + STATEMENT_DAYS * DAY_MS)
    return { issueDate: intelTime(since), nextUpdate: intelTime(until) }
}

// Without milliseconds.
const intelTime = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`
