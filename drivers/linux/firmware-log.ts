// The event log of a TD's firmware: ACPI table CCEL (ACPI 6.5, table 5.59; Intel GHCI for TDX 1.5, section 4.3.3) and
// the log area that it names, as Linux shows both. The log is the crypto-agile one of TCG's PC Client Firmware Profile
// 1.06, section 10; the host may have written any of it. Little-endian.
// It is followed here only as far as its records go, to know where it ends: who verifies it replays it.
// SPDX-License-Identifier: Apache-2.0

import { errnoOf, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { bytes, ignored, layout, text, u8, u32, u64 } from '#core/layout.ts'
import { MAX_EVENT_LOG_SIZE } from '#core/sizes.ts'
import { driverError } from '../errors.ts'

/** The event log of a TD's firmware, as the kernel shows it: ACPI table CCEL and the area that it names. */
export interface FirmwareLog {
    /** The table. */
    readonly path: string
    exists(): boolean
    /** The log up to its end. @throws AttestError ERR_EVENT_LOG, ERR_EVENT_LOG_MISSING, ERR_DEVICE_ACCESS */
    read(): Buffer
}

export const CCEL_TABLE = layout('CCEL', 56, {
    signature: text(0, 4),
    length: u32(4),
    revision: u8(8),
    checksum: u8(9),
    /** Who made the table, and for what. */
    oem: bytes(10, 26),
    ccType: u8(36),
    ccSubtype: u8(37),
    reserved: ignored(38, 2),
    /** LAML and LASA: the least size of the log area, and where it lies. */
    areaSize: u64(40),
    areaAddress: u64(48),
})

export const CC_TYPES = { sev: 1, tdx: 2 } as const

const TABLE_PATH = '/sys/firmware/acpi/tables/CCEL'
const DATA_PATH = '/sys/firmware/acpi/tables/data/CCEL'

const EV_NO_ACTION = 3
const SPEC_ID = Buffer.from('Spec ID Event03\0')
const MAX_ALGORITHMS = 16
/** What an area is filled with, behind its log. */
const NO_INDEX = 0xffff_ffff

export function firmwareLog(exists: (path: string) => boolean, path = TABLE_PATH, dataPath = DATA_PATH): FirmwareLog {
    return {
        path,
        exists: () => exists(path),
        read() {
            checkTable(readFirmware(path, CCEL_TABLE.size), path)
            return trimLog(readFirmware(dataPath, MAX_EVENT_LOG_SIZE))
        },
    }
}

/** @throws AttestError ERR_EVENT_LOG */
function checkTable(raw: Buffer, path: string): void {
    if (raw.length !== CCEL_TABLE.size)
        throw malformed(`${path}: expected a table of ${CCEL_TABLE.size} bytes, got ${raw.length}`)
    let table: ReturnType<typeof CCEL_TABLE.parse>
    try {
        table = CCEL_TABLE.parse(raw)
    } catch (cause) {
        throw malformed(`${path}: ${messageOf(cause)}`, cause)
    }
    const { signature, length, ccType } = table
    if (signature !== 'CCEL' || length !== CCEL_TABLE.size)
        throw malformed(`${path}: expected CCEL of ${CCEL_TABLE.size} bytes, got ${signature} of ${length}`)
    if (raw.reduce((sum, byte) => sum + byte, 0) % 256 !== 0) throw malformed(`${path}: its checksum does not hold`)
    if (ccType !== CC_TYPES.tdx)
        throw malformed(`${path}: it is the log of another technology than TDX (CC type ${ccType})`)
}

/**
 * The records of a log, without what fills the area behind them.
 * @throws AttestError ERR_EVENT_LOG
 */
export function trimLog(area: Buffer): Buffer {
    const cursor = new Cursor(area)
    const sizes = readSpecId(cursor)
    while (!atEnd(area, cursor.at)) skipEvent(cursor, sizes)
    return Buffer.from(area.subarray(0, cursor.at))
}

// The first record has the form of TPM 1.2, and says how long each digest of the others is.
function readSpecId(cursor: Cursor): ReadonlyMap<number, number> {
    cursor.skip(4)
    const type = cursor.u32()
    cursor.skip(20)
    const event = new Cursor(cursor.take(cursor.u32()))
    if (type !== EV_NO_ACTION || !event.take(SPEC_ID.length).equals(SPEC_ID))
        throw malformed('it does not begin with a Spec ID event')
    event.skip(8)
    const count = event.u32()
    if (count > MAX_ALGORITHMS) throw malformed(`it has ${count} algorithms`)
    return new Map(Array.from({ length: count }, () => [event.u16(), event.u16()] as const))
}

function skipEvent(cursor: Cursor, sizes: ReadonlyMap<number, number>): void {
    const start = cursor.at
    cursor.skip(8)
    const count = cursor.u32()
    if (count > MAX_ALGORITHMS) throw malformed(`the event at ${start} has ${count} digests`)
    for (let i = 0; i < count; i++) {
        const algorithm = cursor.u16()
        const size = sizes.get(algorithm)
        if (size === undefined) throw malformed(`the event at ${start} has a digest of no algorithm of its log`)
        cursor.skip(size)
    }
    cursor.skip(cursor.u32())
}

function atEnd(area: Buffer, at: number): boolean {
    if (area.length - at < 8) return true
    const index = area.readUInt32LE(at)
    return index === NO_INDEX || (index === 0 && area.readUInt32LE(at + 4) === 0)
}

class Cursor {
    readonly #bytes: Buffer
    at = 0

    constructor(bytes: Buffer) {
        this.#bytes = bytes
    }

    take(size: number): Buffer {
        const start = this.at
        if (size > this.#bytes.length - start)
            throw malformed(`${size} bytes are announced at ${start}, ${this.#bytes.length - start} are there`)
        this.at += size
        return this.#bytes.subarray(start, this.at)
    }

    skip(size: number): void {
        this.take(size)
    }

    u16(): number {
        return this.take(2).readUInt16LE()
    }

    u32(): number {
        return this.take(4).readUInt32LE()
    }
}

function readFirmware(path: string, maxBytes: number): Buffer {
    try {
        return readInput(path, maxBytes)
    } catch (cause) {
        const code = errnoOf(cause)
        if (code === 'ERR_NOT_FOUND_FILE')
            throw driverError('ERR_EVENT_LOG_MISSING', `${path}: there is no such file`, { cause })
        if (code === 'ERR_LENGTH') throw malformed(messageOf(cause), cause)
        throw driverError('ERR_DEVICE_ACCESS', messageOf(cause), { cause, hint: 'run this as root' })
    }
}

const malformed = (what: string, cause?: unknown) =>
    driverError('ERR_EVENT_LOG', `the event log of the firmware: ${what}`, { cause })
