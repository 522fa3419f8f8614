// What Intel signs of its platforms, as JSON: TCB info version 3 of TDX, and the identity of the TD quoting enclave.
// Intel SGX and TDX Provisioning Certification Service API, version 4. Members that are not named here are signed like
// the others and say nothing that is judged.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { issues } from '#core/schema.ts'
import { tdxError } from '../errors.ts'
import type { TcbStatus } from '../platform.ts'

const hex = (bytes: number) =>
    z.pipe(
        z.string().check(z.regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `expected ${2 * bytes} hex digits`)),
        z.transform((text: string) => Buffer.from(text, 'hex')),
    )

const moment = z.pipe(
    z.string().check(z.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'expected a date as 2026-11-20T12:00:00Z')),
    z.pipe(
        z.transform((text: string) => new Date(text)),
        z.date('expected a date that exists'),
    ),
)

const svn = z.int().check(z.gte(0), z.lte(0xff))
const svn16 = z.int().check(z.gte(0), z.lte(0xffff))
const evaluationNumber = z.int().check(z.gte(0), z.lte(0xffffffff))

const components = z.pipe(
    z.array(z.object({ svn })).check(z.length(16)),
    z.transform((all: { svn: number }[]) => Buffer.from(all.map(({ svn }) => svn))),
)

const level = {
    tcbDate: moment,
    advisoryIDs: z.optional(z.array(z.string().check(z.maxLength(64))).check(z.maxLength(256))),
}

/** What Intel says of a level of the platform. */
export const PLATFORM_STATUSES = [
    'UpToDate',
    'SWHardeningNeeded',
    'ConfigurationNeeded',
    'ConfigurationAndSWHardeningNeeded',
    'OutOfDate',
    'OutOfDateConfigurationNeeded',
    'Revoked',
] as const satisfies readonly TcbStatus[]

const enclaveLevels = z
    .array(
        z.object({
            ...level,
            tcb: z.object({ isvsvn: svn16 }),
            tcbStatus: z.enum(['UpToDate', 'OutOfDate', 'Revoked']),
        }),
    )
    .check(z.minLength(1), z.maxLength(256))

const module = { mrsigner: hex(48), attributes: hex(8), attributesMask: hex(8) }

const dated = { issueDate: moment, nextUpdate: moment, tcbEvaluationDataNumber: evaluationNumber }

const TCB_INFO = z.object({
    ...dated,
    id: z.literal('TDX'),
    version: z.literal(3),
    fmspc: hex(6),
    pceId: hex(2),
    tcbType: z.literal(0),
    tdxModule: z.object(module),
    tdxModuleIdentities: z.optional(
        z
            .array(z.object({ ...module, id: z.string().check(z.maxLength(64)), tcbLevels: enclaveLevels }))
            .check(z.maxLength(256)),
    ),
    tcbLevels: z
        .array(
            z.object({
                ...level,
                tcb: z.object({ sgxtcbcomponents: components, pcesvn: svn16, tdxtcbcomponents: components }),
                tcbStatus: z.enum(PLATFORM_STATUSES),
            }),
        )
        .check(z.minLength(1), z.maxLength(1024)),
})

const QE_IDENTITY = z.object({
    ...dated,
    id: z.literal('TD_QE'),
    version: z.literal(2),
    miscselect: hex(4),
    miscselectMask: hex(4),
    attributes: hex(16),
    attributesMask: hex(16),
    mrsigner: hex(32),
    isvprodid: svn16,
    tcbLevels: enclaveLevels,
})

export type TcbInfo = z.infer<typeof TCB_INFO>
export type TcbLevel = TcbInfo['tcbLevels'][number]
export type QeIdentity = z.infer<typeof QE_IDENTITY>
export type EnclaveLevel = QeIdentity['tcbLevels'][number]

/** @throws AttestError ERR_TDX_COLLATERAL, naming the member */
export const readTcbInfo = (value: unknown, title: string): TcbInfo => {
    const info = shaped(TCB_INFO, value, `${title}: TCB info`)
    return {
        ...info,
        tcbLevels: info.tcbLevels.toSorted(compareLevels),
        ...(info.tdxModuleIdentities && {
            tdxModuleIdentities: info.tdxModuleIdentities.map((identity) => ({
                ...identity,
                tcbLevels: identity.tcbLevels.toSorted(byIsvSvn),
            })),
        }),
    }
}

/** @throws AttestError ERR_TDX_COLLATERAL, naming the member */
export const readQeIdentity = (value: unknown, title: string): QeIdentity => {
    const identity = shaped(QE_IDENTITY, value, `${title}: QE identity`)
    return { ...identity, tcbLevels: identity.tcbLevels.toSorted(byIsvSvn) }
}

function shaped<T>(schema: z.ZodMiniType<T>, value: unknown, title: string): T {
    const result = schema.safeParse(value)
    if (result.success) return result.data
    throw tdxError('ERR_TDX_COLLATERAL', `${title}: ${issues(result.error)}`)
}

// The first that is met counts: the highest stand first.
const compareLevels = ({ tcb: a }: TcbLevel, { tcb: b }: TcbLevel): number =>
    Buffer.compare(b.sgxtcbcomponents, a.sgxtcbcomponents) ||
    b.pcesvn - a.pcesvn ||
    Buffer.compare(b.tdxtcbcomponents, a.tdxtcbcomponents)

const byIsvSvn = (a: EnclaveLevel, b: EnclaveLevel): number => b.tcb.isvsvn - a.tcb.isvsvn
