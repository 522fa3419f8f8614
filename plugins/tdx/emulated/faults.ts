// The faults that an emulated TD can meet, beside those that every technology has.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import type { Call, FaultParams, FaultTable } from '#emulator/model.ts'

const MS = z.int().check(z.gte(0), z.lte(600_000))
const WORD = z.int().check(z.gte(1), z.lte(0xffffffff))

/** What a GetQuote buffer can hold. */
const SIZE = z.int().check(z.gte(1), z.lte(128 * 1024))

export const TDX_FAULTS = {
    busy: { means: 'an earlier request is still with the host (EBUSY)', params: {} },
    'in-flight': {
        means: 'the host still works on the quote: getQuote says so in its status, configfs is EBUSY',
        params: {},
    },
    timeout: {
        means: 'the host does not answer in time (ETIMEDOUT), and keeps the buffer for a while: EBUSY',
        params: { ms: z._default(MS, 30_000), busyMs: z._default(MS, 30_000) },
    },
    'quote-error': { means: 'the host cannot make a quote: a status, or EIO from configfs', params: {} },
    unavailable: { means: 'the host has no quoting service: a status, or EIO from configfs', params: {} },
    'service-error': {
        means: 'the quoting service refuses with this code: in its message, or EIO from configfs',
        params: { code: WORD },
    },
    'empty-quote': { means: 'the host answers with no bytes, and calls that a success', params: {} },
    padded: {
        means: 'what the host hands over has this size: behind the quote is noise',
        params: { size: z._default(SIZE, 8000) },
    },
    'register-race': { means: 'RTMR3 is extended just before the report is made', params: {} },
    'wrong-nonce': { means: 'the quote is well signed, and for another nonce', params: {} },
    'bad-signature': { means: 'the signature of the quote does not verify', params: {} },
} as const satisfies FaultTable

type Kind = keyof typeof TDX_FAULTS
type Params<K extends Kind> = FaultParams<typeof TDX_FAULTS, K>

/** The parameters of a fault of this kind, if the request meets one. */
export const faultOf = <K extends Kind>({ faults }: Pick<Call, 'faults'>, kind: K): Params<K> | undefined =>
    faults.find((fault) => fault.kind === kind)?.params as Params<K> | undefined

/** Whether the request meets one of this kind. */
export const meets = (call: Pick<Call, 'faults'>, kind: Kind): boolean => faultOf(call, kind) !== undefined
