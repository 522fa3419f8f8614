// The log of what a guest measured while it booted, as firmware leaves it behind the ACPI table CCEL. TCG PC Client
// Platform Firmware Profile 1.06 §10.2 (crypto-agile log), as Intel TDX Virtual Firmware Design Guide §8.3 has it:
// SHA-384 alone, index 0 is MRTD, 1 to 4 are RTMR0 to RTMR3. Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { isZero } from '#core/bytes.ts'
import { bytes, layout, u8, u16, u32 } from '#core/layout.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import { tdxError } from '../errors.ts'
import { EV_NO_ACTION, measuredOf } from './event-types.ts'

/** By the index in the log. */
export const REGISTERS = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const

export type RegisterName = (typeof REGISTERS)[number]
export type RtmrName = Exclude<RegisterName, 'mrtd'>

export const RTMRS = ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const satisfies readonly RtmrName[]

export interface LoggedEvent {
    readonly register: RegisterName
    readonly type: number
    /** SHA-384, with which the register was extended. */
    readonly digest: Buffer
    readonly data: Buffer
    /** True where the digest is that of the data, so that they are known to be what was measured. */
    readonly proven: boolean
}

export interface EventLog {
    readonly form: 'CCEL' | 'dstack'
    readonly events: readonly LoggedEvent[]
}

/** The digest of every event: SHA-384. */
export const DIGEST_SIZE = 48

/**
 * The events of a log.
 * @throws AttestError ERR_TDX_EVENT_LOG, saying what is wrong where, or what it is instead
 */
export function parseCcel(raw: Buffer): EventLog {
    checkLogSize(raw)
    let at = readSpecId(raw)
    const events: LoggedEvent[] = []
    while (!isEnd(raw.subarray(at))) {
        const where = `event ${events.length + 1} at ${at}`
        if (events.length === MAX_EVENTS) throw malformed(`${where}: more than ${MAX_EVENTS} events`)
        const head = raw.subarray(at, at + EVENT.size)
        if (head.length < EVENT.size) throw malformed(`${where}: expected ${EVENT.size} bytes, ${head.length} are left`)
        const { index, type, digests, algorithm, digest, size } = EVENT.parse(head)
        const register = REGISTERS[index]
        if (register === undefined) throw malformed(`${where}: index ${index} is no register of a TD`)
        if (digests !== 1 || algorithm !== SHA384)
            throw malformed(
                `${where}: expected one digest of SHA-384, got ${digests}, the first of algorithm ${algorithm}`,
            )
        at += EVENT.size
        if (size > raw.length - at)
            throw malformed(`${where}: its data have ${size} bytes, where ${raw.length - at} are left`)
        events.push(withProof({ register, type, digest, data: Buffer.from(raw.subarray(at, at + size)) }))
        at += size
    }
    return { form: 'CCEL', events }
}

/** The bytes of a log: the inverse of `parseCcel`. */
export function encodeCcel(events: readonly Pick<LoggedEvent, 'register' | 'type' | 'digest' | 'data'>[]): Buffer {
    const spec = Buffer.concat([
        SPEC_ID.encode({
            signature: SIGNATURE,
            platformClass: 0,
            minor: 0,
            major: 2,
            errata: 0,
            uintnSize: 2,
            algorithms: 1,
        }),
        ALGORITHM.encode({ id: SHA384, digestSize: DIGEST_SIZE }),
        Buffer.of(0),
    ])
    const first = FIRST.encode({ index: 1, type: EV_NO_ACTION, digest: Buffer.alloc(20), size: spec.length })
    const rest = events.flatMap(({ register, type, digest, data }) => [
        EVENT.encode({
            index: REGISTERS.indexOf(register),
            type,
            digests: 1,
            algorithm: SHA384,
            digest,
            size: data.length,
        }),
        data,
    ])
    return Buffer.concat([first, spec, ...rest])
}

/** @throws AttestError ERR_TDX_EVENT_LOG */
export function checkLogSize(raw: Buffer): void {
    if (raw.length > MAX_EVENT_LOG_SIZE)
        throw malformed(`an event log has at most ${MAX_EVENT_LOG_SIZE} bytes, got ${raw.length}`)
}

/** The same event, with whether its data are known to be what was measured. */
export function withProof(event: Omit<LoggedEvent, 'proven'>): LoggedEvent {
    const { type, data, digest } = event
    const proven = measuredOf(type, data).some((text) => createHash('sha384').update(text).digest().equals(digest))
    return { ...event, proven }
}

const SIGNATURE = Buffer.from('Spec ID Event03\0', 'latin1')

/** TPM_ALG_SHA384. */
const SHA384 = 0xc

/** TCG_PCR_EVENT, the form of the first entry: its digest is one of SHA-1. */
const FIRST = layout('first event', 32, { index: u32(0), type: u32(4), digest: bytes(8, 20), size: u32(28) })

/** TCG_EfiSpecIdEvent. The algorithms follow, and a byte that counts those of the vendor's name behind it. */
const SPEC_ID = layout('Spec ID event', 28, {
    signature: bytes(0, 16),
    platformClass: u32(16),
    minor: u8(20),
    major: u8(21),
    errata: u8(22),
    uintnSize: u8(23),
    algorithms: u32(24),
})

const ALGORITHM = layout('algorithm', 4, { id: u16(0), digestSize: u16(2) })

/** Some logs list SM3 beside SHA-384, and no event of theirs has it. */
const MAX_ALGORITHMS = 8

/** SHA-1 and SHA-256. */
const TPM_ALGORITHMS: readonly number[] = [0x4, 0xb]

/** TCG_PCR_EVENT2 with one digest; the data follow. */
const EVENT = layout('event', 66, {
    index: u32(0),
    type: u32(4),
    digests: u32(8),
    algorithm: u16(12),
    digest: bytes(14, DIGEST_SIZE),
    size: u32(62),
})

/** GRUB measures each of its commands; real logs have up to a hundred. */
export const MAX_EVENTS = 1024

/** Where the events begin. */
function readSpecId(raw: Buffer): number {
    const { size } = FIRST.parse(raw.length < FIRST.size ? refuseOther(raw) : raw.subarray(0, FIRST.size))
    const spec = raw.subarray(FIRST.size, FIRST.size + size)
    if (!spec.subarray(0, 16).equals(SIGNATURE)) refuseOther(raw)
    if (spec.length < SPEC_ID.size || spec.length !== size)
        throw malformed(`Spec ID event: ${size} bytes, where ${raw.length - FIRST.size} are left`)
    const { algorithms } = SPEC_ID.parse(spec.subarray(0, SPEC_ID.size))
    const end = SPEC_ID.size + algorithms * ALGORITHM.size
    if (algorithms > MAX_ALGORITHMS || spec.length < end + 1 || spec.length !== end + 1 + (spec[end] ?? 0))
        throw malformed(`Spec ID event: ${spec.length} bytes are not those of ${algorithms} algorithms and a vendor`)
    const listed = Array.from({ length: algorithms }, (_, at) =>
        ALGORITHM.parse(spec.subarray(SPEC_ID.size + at * ALGORITHM.size, SPEC_ID.size + (at + 1) * ALGORITHM.size)),
    )
    if (listed.some(({ id }) => TPM_ALGORITHMS.includes(id)))
        throw malformed("this is the log of a TPM, with digests of SHA-1 or SHA-256: a TD's are of SHA-384")
    if (!listed.some(({ id, digestSize }) => id === SHA384 && digestSize === DIGEST_SIZE))
        throw malformed("the log has no digests of SHA-384, and a TD's has")
    return FIRST.size + size
}

/** Things that people have beside a log. */
const OTHERS: readonly { readonly what: string; readonly is: (raw: Buffer) => boolean }[] = [
    { what: 'an empty file', is: (raw) => raw.length === 0 },
    {
        what: 'the ACPI table CCEL, which says where the log is: Linux has that in /sys/firmware/acpi/tables/data/CCEL',
        is: (raw) => raw.toString('latin1', 0, 4) === 'CCEL',
    },
    { what: 'a JSON text of another kind', is: (raw) => raw[0] === 0x7b },
    {
        what: 'the log of a TPM with digests of SHA-1 alone',
        is: (raw) => raw.length >= FIRST.size && raw.readUInt32LE(0) < 24 && raw.readUInt32LE(4) < 0x20,
    },
    {
        what: 'text',
        is: (raw) => raw.subarray(0, 256).every((c) => c === 9 || c === 10 || c === 13 || (c > 31 && c < 127)),
    },
]

function refuseOther(raw: Buffer): never {
    const found = OTHERS.find(({ is }) => is(raw))
    throw malformed(
        found ? `this is ${found.what}, no event log of a TD` : 'no event log of a TD: it has no Spec ID event',
    )
}

// Firmware fills what it reserved with ones, or leaves zeros: index 0 with type 0 is nothing.
function isEnd(rest: Buffer): boolean {
    if (rest.length < 8) return isZero(rest) || rest.every((byte) => byte === 0xff)
    return rest.readUInt32LE(0) === 0xffffffff || isZero(rest.subarray(0, 8))
}

const malformed = (text: string) => tdxError('ERR_TDX_EVENT_LOG', text)
