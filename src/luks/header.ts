// The binary header and its two copies. LUKS2 On-Disk Format Specification 1.1, "Binary Header" and "Metadata
// Recovery"; big-endian.
//
//     0         4096      hdr_size        2 * hdr_size
//     | primary | JSON    | secondary | JSON    | key-slot areas … | data …
//
// cryptsetup takes the intact copy, of two intact ones the newer, and overwrites the other with it as soon as it reads.
// So whoever can damage a copy chooses which one counts, and a crash while a header is written cannot be told from a
// host that prepares a rollback. Here both must be intact and say the same: then there is one header, and cryptsetup
// cannot see another than the one that was judged.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { equalBytes, isZero, toHex } from '#core/bytes.ts'
import { UUID } from '#core/guid.ts'
import { bytes, type Field, layout, type Parsed, text, u16be, u64be, zero } from '#core/layout.ts'
import { HASHES, hashSize } from './algorithms.ts'
import { luksError } from './errors.ts'

/** A UTF-8 name that decides nothing; what is no text is shown with replacement characters. */
const name = (offset: number, size: number): Field<string> => ({
    offset,
    size,
    read: (b) => b.toString('utf8', offset, offset + size).split('\0', 1)[0] as string,
    write: (b, v) => void b.write(v, offset, size),
})

export const BINARY_HEADER = layout('LUKS2 header', 4096, {
    magic: bytes(0x000, 6),
    version: u16be(0x006),
    hdrSize: u64be(0x008),
    seqid: u64be(0x010),
    label: name(0x018, 48),
    csumAlg: text(0x048, 32),
    salt: bytes(0x068, 64),
    uuid: text(0x0a8, 40),
    subsystem: name(0x0d0, 48),
    hdrOffset: u64be(0x100),
    padding: zero(0x108, 184),
    csum: bytes(0x1c0, 64),
    padding4096: zero(0x200, 3584),
})

export type BinaryHeader = Parsed<typeof BINARY_HEADER.fields>

/** One of the two copies, its checksum verified. */
export interface HeaderCopy {
    readonly header: BinaryHeader
    /** The JSON area, with the zeros behind its text. */
    readonly json: Buffer
}

const MAGIC = { primary: Buffer.from('LUKS\xba\xbe', 'latin1'), secondary: Buffer.from('SKUL\xba\xbe', 'latin1') }

/** What the specification allows for hdr_size: the size of one copy, and so where the second begins. */
const SIZES = [0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000]

/** What two copies take at most: 8 MiB. */
const MAX_METADATA = 2 * Math.max(...SIZES)

const REPAIR = { hint: 'if you trust what the disk holds, `cryptsetup repair` writes one copy over the other' }

/** True for the text form of a UUID, in either case. */
export const isUuid = (text: string): boolean => UUID.test(text)

/**
 * How many bytes the two copies take, as far as the first 4096 bytes tell; where they do not, as many as it takes to
 * find a second copy.
 */
export function metadataSize(start: Buffer): number {
    if (start.length < BINARY_HEADER.size || !start.subarray(0, 6).equals(MAGIC.primary)) return MAX_METADATA
    const size = start.readBigUInt64BE(BINARY_HEADER.fields.hdrSize.offset)
    return isLegal(size) ? 2 * Number(size) : MAX_METADATA
}

/**
 * The copy at the start of a device.
 * @throws AttestError ERR_LUKS_FORMAT, ERR_LUKS_VERSION, ERR_LUKS_HEADER, ERR_LUKS_CHECKSUM, ERR_LUKS_COPIES,
 *   ERR_RESERVED, ERR_ENCODING
 */
export function primaryCopy(image: Buffer): HeaderCopy {
    if (!image.subarray(0, 6).equals(MAGIC.primary)) {
        const offset = SIZES.find((size) => image.subarray(size, size + 6).equals(MAGIC.secondary))
        if (offset === undefined) throw luksError('ERR_LUKS_FORMAT', 'this is not a LUKS volume')
        throw luksError('ERR_LUKS_COPIES', `the primary header is gone, a secondary one stands at ${offset}`, REPAIR)
    }
    return parseCopy(image, 'primary', 0)
}

/** The copy behind the primary one. @throws AttestError as `primaryCopy` */
export function secondaryCopy(image: Buffer, primary: HeaderCopy): HeaderCopy {
    const offset = Number(primary.header.hdrSize)
    if (!image.subarray(offset, offset + 6).equals(MAGIC.secondary))
        throw luksError('ERR_LUKS_COPIES', `no secondary header stands at ${offset}`, REPAIR)
    return parseCopy(image, 'secondary', offset)
}

/** What must be equal in both copies; the magic, salt, offset and checksum are each one's own. */
const SHARED = {
    seqid: 'sequence number',
    uuid: 'UUID',
    label: 'label',
    subsystem: 'subsystem',
    csumAlg: 'checksum algorithm',
} as const satisfies Partial<Record<keyof BinaryHeader, string>>

/** @throws AttestError ERR_LUKS_COPIES with the first difference */
export function compareCopies(primary: HeaderCopy, secondary: HeaderCopy): void {
    for (const [field, means] of Object.entries(SHARED) as [keyof typeof SHARED, string][]) {
        const [first, second] = [primary.header[field], secondary.header[field]]
        if (first !== second)
            throw luksError(
                'ERR_LUKS_COPIES',
                `${means}: the primary header says ${first}, the secondary ${second}`,
                REPAIR,
            )
    }
    if (!equalBytes(primary.json, secondary.json))
        throw luksError('ERR_LUKS_COPIES', 'the JSON metadata of the two copies differs', REPAIR)
}

function parseCopy(image: Buffer, which: 'primary' | 'secondary', offset: number): HeaderCopy {
    const start = image.subarray(offset, offset + BINARY_HEADER.size)
    if (start.length < BINARY_HEADER.size) throw tooShort(image, offset + BINARY_HEADER.size)
    checkVersion(start.readUInt16BE(BINARY_HEADER.fields.version.offset))
    const header = BINARY_HEADER.parse(start)
    checkFields(header, offset)
    const size = Number(header.hdrSize)
    if (image.length < offset + size) throw tooShort(image, offset + size)
    const json = image.subarray(offset + BINARY_HEADER.size, offset + size)
    checkChecksum(header, start, json, which)
    return { header, json }
}

// Before anything else is read: the fields of another version stand elsewhere.
function checkVersion(version: number): void {
    if (version === 1)
        throw luksError('ERR_LUKS_VERSION', 'version: expected 2, got 1 (LUKS1)', {
            hint: '`cryptsetup convert --type luks2` makes LUKS2 of it',
        })
    if (version !== 2) throw luksError('ERR_LUKS_VERSION', `version: expected 2, got ${version}`)
}

function checkFields({ hdrSize, hdrOffset, uuid, csumAlg }: BinaryHeader, offset: number): void {
    const refuse = (field: string, want: string, got: unknown) =>
        luksError('ERR_LUKS_HEADER', `${field}: expected ${want}, got ${got}`)
    if (!isLegal(hdrSize)) throw refuse('hdr_size', 'a power of two from 16384 to 4194304', hdrSize)
    // The secondary header begins where the primary one ends, and is as long.
    if (offset !== 0 && Number(hdrSize) !== offset) throw refuse('hdr_size', `${offset}`, hdrSize)
    if (hdrOffset !== BigInt(offset)) throw refuse('hdr_offset', `${offset}`, hdrOffset)
    if (!isUuid(uuid)) throw refuse('uuid', 'a UUID', JSON.stringify(uuid))
    if (!Object.hasOwn(HASHES, csumAlg))
        throw refuse('csum_alg', Object.keys(HASHES).join(', '), JSON.stringify(csumAlg))
}

// Over the binary header with its csum field zeroed, and the whole JSON area. No key goes in: it tells damage, and
// never forgery.
function checkChecksum({ csumAlg, csum }: BinaryHeader, start: Buffer, json: Buffer, which: string): void {
    const { offset, size } = BINARY_HEADER.fields.csum
    const blank = Buffer.from(start).fill(0, offset, offset + size)
    const want = createHash(csumAlg).update(blank).update(json).digest()
    const length = hashSize(csumAlg)
    if (equalBytes(csum.subarray(0, length), want) && isZero(csum.subarray(length))) return
    throw luksError(
        'ERR_LUKS_CHECKSUM',
        `the checksum of the ${which} header: expected ${toHex(want)}, got ${toHex(csum.subarray(0, length))}`,
        REPAIR,
    )
}

const isLegal = (size: bigint): boolean => SIZES.some((legal) => BigInt(legal) === size)

const tooShort = (image: Buffer, want: number) =>
    luksError('ERR_LUKS_FORMAT', `the header needs ${want} bytes, there are ${image.length}`)
