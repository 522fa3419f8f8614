// What the firmware of an emulated TD has measured while it booted: a log that replays to its registers, and the ACPI
// table that says where the log is. Intel TDX Virtual Firmware Design Guide §8; ACPI 6.5 §5.2.34 (CCEL). Little-endian.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { bytes, layout, u8, u16, u32, u64 } from '#core/layout.ts'
import { encodeCcel, type LoggedEvent } from '../event-log/ccel.ts'

type Event = Pick<LoggedEvent, 'register' | 'type' | 'digest' | 'data'>

const EV_SEPARATOR = 4
const EV_EVENT_TAG = 6
const EV_S_CRTM_VERSION = 8
const EV_EFI_ACTION = 0x80000007

/** What Linux's EFI stub measures: the tag of the command line, and of the initrd. */
const LOAD_OPTIONS = 0x8f3b22ed

/** What of the log a firmware reserves: what it does not fill is ones. */
const LOG_AREA = 64 * 1024

/** The log of a boot like others. */
export function bootLog(): Buffer {
    return encodeCcel([
        event('rtmr0', EV_S_CRTM_VERSION, Buffer.from('guest-attest emulated firmware\0', 'utf16le')),
        event('rtmr0', EV_SEPARATOR, Buffer.alloc(4)),
        event('rtmr1', EV_SEPARATOR, Buffer.alloc(4)),
        event('rtmr1', EV_EFI_ACTION, Buffer.from('Calling EFI Application from Boot Option')),
        tagged('rtmr2', LOAD_OPTIONS, Buffer.from('root=/dev/mapper/root ro\0', 'utf16le')),
        event('rtmr1', EV_EFI_ACTION, Buffer.from('Exit Boot Services Invocation')),
        event('rtmr1', EV_EFI_ACTION, Buffer.from('Exit Boot Services Returned with Success')),
    ])
}

/** The memory that the firmware reserved, with the log in it. */
export function logArea(log: Buffer): Buffer {
    const area = Buffer.alloc(Math.max(LOG_AREA, log.length), 0xff)
    area.set(log)
    return area
}

const CCEL = layout('CCEL', 56, {
    signature: bytes(0, 4),
    length: u32(4),
    revision: u8(8),
    checksum: u8(9),
    oemId: bytes(10, 6),
    oemTableId: bytes(16, 8),
    oemRevision: u32(24),
    creatorId: bytes(28, 4),
    creatorRevision: u32(32),
    ccType: u8(36),
    ccSubtype: u8(37),
    reserved: u16(38),
    areaLength: u64(40),
    areaStart: u64(48),
})

/** Of the technologies that the table knows. */
const CC_TYPE_TDX = 2

/** Where the guest's firmware would have put it. */
const AREA_START = 0x7d64_9000n

export function ccelTable(areaLength: number): Buffer {
    const table = CCEL.encode({
        signature: Buffer.from('CCEL'),
        length: CCEL.size,
        revision: 1,
        checksum: 0,
        oemId: Buffer.from('GATEST'),
        oemTableId: Buffer.from('EMULATED'),
        oemRevision: 1,
        creatorId: Buffer.from('GATE'),
        creatorRevision: 1,
        ccType: CC_TYPE_TDX,
        ccSubtype: 0,
        reserved: 0,
        areaLength: BigInt(areaLength),
        areaStart: AREA_START,
    })
    // All bytes of a table add up to zero.
    table[CCEL.fields.checksum.offset] = -table.reduce((sum, byte) => sum + byte, 0) & 0xff
    return table
}

const sha384 = (data: Buffer): Buffer => createHash('sha384').update(data).digest()

const event = (register: Event['register'], type: number, data: Buffer): Event => ({
    register,
    type,
    digest: sha384(data),
    data,
})

// Measured is what the tag is of; the log says the tag and its size before it (TCG_PCClientTaggedEvent).
function tagged(register: Event['register'], tag: number, content: Buffer): Event {
    const head = Buffer.alloc(8)
    head.writeUInt32LE(tag, 0)
    head.writeUInt32LE(content.length, 4)
    return { register, type: EV_EVENT_TAG, digest: sha384(content), data: Buffer.concat([head, content]) }
}
