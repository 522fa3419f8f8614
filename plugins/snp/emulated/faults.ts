// The faults that an emulated SNP guest can meet, beside those that every technology has.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import type { Call, FaultParams, FaultTable } from '#emulator/model.ts'

const WORD = z.int().check(z.gte(1), z.lte(0xffffffff))
const MS = z.int().check(z.gte(0), z.lte(600_000))

export const SNP_FAULTS = {
    busy: {
        means: 'the host throttles for a while, during which the driver tries again by itself',
        params: { ms: z._default(MS, 2000) },
    },
    timeout: {
        means: 'the host throttles until the driver gives up (ETIMEDOUT): the message key is lost',
        params: { ms: z._default(MS, 60_000) },
    },
    'firmware-status': {
        means: 'the firmware refuses: a response with this status, and a call that succeeds',
        params: { status: WORD },
    },
    'firmware-error': {
        means: 'the firmware fails with this error (EIO, fw_error): the message key is lost',
        params: { status: WORD },
    },
    'vmm-status': {
        means: 'the host refuses with this error (EIO, vmm_error): the message key is lost',
        params: { status: WORD },
    },
    'key-lost-on-burst': {
        means: 'more requests than this within this time, and the host throttles for good: the message key is lost',
        params: { more: z.int().check(z.gte(0)), withinMs: MS },
    },
    'short-buffer': {
        means: "the host's certificate table needs a buffer of this size (EIO, vmm_error 1)",
        params: { size: WORD },
    },
    'no-certificates': { means: 'the host has no certificate table', params: {} },
    'wrong-nonce': { means: 'the report is well signed, and for another nonce', params: {} },
    'bad-signature': { means: 'the signature of the report does not verify', params: {} },
} as const satisfies FaultTable

type Kind = keyof typeof SNP_FAULTS
type Params<K extends Kind> = FaultParams<typeof SNP_FAULTS, K>

/** The parameters of a fault of this kind, if the request meets one. */
export const faultOf = <K extends Kind>({ faults }: Call, kind: K): Params<K> | undefined =>
    faults.find((fault) => fault.kind === kind)?.params as Params<K> | undefined
