// What a host can do to a header: any metadata, any field, any byte, under checksums that hold.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import type { Expected } from '#luks/check.ts'
import { BINARY_HEADER, type BinaryHeader } from '#luks/header.ts'

// biome-ignore lint/suspicious/noExplicitAny: a forger writes whatever it likes into the metadata
type Json = any

/** Members of the metadata by their paths, `segments.0.encryption`; undefined takes one away. */
export type Changes = Readonly<Record<string, unknown>>

/** One copy: its metadata, that as a text, the fields of its binary header. */
export interface CopyForgery {
    readonly set?: Changes
    readonly text?: (json: string) => string
    readonly header?: Partial<BinaryHeader>
}

export interface Forgery extends CopyForgery {
    /** What the secondary copy says instead. */
    readonly secondary?: CopyForgery
    readonly hdrSize?: number
    /** The whole image, after the checksums; what it returns replaces it. */
    readonly bytes?: (image: Buffer) => Buffer
}

export interface Case {
    readonly name: string
    readonly forgery: Forgery
    /** The check that refuses it, and no other does. */
    readonly fails: string
    readonly code: string
    readonly says: RegExp
    readonly expected?: Expected
    /** What `cryptsetup luksDump` shows of it, or null where cryptsetup refuses it too. */
    readonly dump: RegExp | null
}

/** A case whose forgery is in the metadata. */
export type MetadataCase = Omit<Case, 'forgery' | 'dump'> & {
    readonly set: Changes
    /** Absent: cryptsetup takes it. */
    readonly dump?: RegExp | null
}

export const metadataCase = ({ set, dump, ...rest }: MetadataCase): Case => ({
    ...rest,
    forgery: { set },
    dump: dump === undefined ? /LUKS header information/ : dump,
})

export const UUID = '0b5317c0-ff25-49bd-b85d-45c1d000098a'

const HDR_SIZE = 16384

/** The protected header of clevis' JWE, in its form on the wire. */
export const protectedFor = (pin: string, more: Json = {}): string =>
    Buffer.from(JSON.stringify({ alg: 'dir', enc: 'A256GCM', clevis: { pin, [pin]: {}, ...more } })).toString(
        'base64url',
    )

/** The same for `sss`: so many of these. */
export const protectedForSome = (t: number, ...shares: readonly string[]): string =>
    protectedFor('sss', { sss: { p: 'AA', t, jwe: shares.map((share) => `${share}....`) } })

/** As cryptsetup 2.6.1 and clevis 19 write it: a passphrase in slot 0, a clevis binding in slot 1. */
const GOOD: Json = {
    keyslots: {
        0: {
            type: 'luks2',
            key_size: 64,
            af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
            area: { type: 'raw', offset: '32768', size: '258048', encryption: 'aes-xts-plain64', key_size: 64 },
            kdf: {
                type: 'argon2id',
                time: 4,
                memory: 1048576,
                cpus: 2,
                salt: '26hLw+58RMLSfBdjzhuYzPxlW6jVHdouLRRM1bu5nco=',
            },
        },
        1: {
            type: 'luks2',
            key_size: 64,
            af: { type: 'luks1', stripes: 4000, hash: 'sha256' },
            area: { type: 'raw', offset: '290816', size: '258048', encryption: 'aes-xts-plain64', key_size: 64 },
            kdf: {
                type: 'pbkdf2',
                hash: 'sha256',
                iterations: 1000,
                salt: 'AvOndMbRFRq/zPcrjqlKKDZpPZhVhvvvPjmFnsu2wP4=',
            },
        },
    },
    tokens: {
        0: {
            type: 'clevis',
            keyslots: ['1'],
            jwe: { protected: protectedFor('kbs'), iv: '', ciphertext: '', tag: '' },
        },
    },
    segments: {
        0: {
            type: 'crypt',
            offset: '1048576',
            size: 'dynamic',
            iv_tweak: '0',
            encryption: 'aes-xts-plain64',
            sector_size: 4096,
        },
    },
    digests: {
        0: {
            type: 'pbkdf2',
            keyslots: ['0', '1'],
            segments: ['0'],
            hash: 'sha256',
            iterations: 257508,
            salt: '4DwDZHW4lbvBvOTHk9sb8+EX8szgo1ZvLm+D/qA/sdg=',
            digest: 'tWdTSoOSqkOsmy7/3QiQE2TIFv23L83un/dPM9Umtw8=',
        },
    },
    config: { json_size: '12288', keyslots_size: '557056' },
}

/** The metadata with nothing forged, to change at will. */
export const goodMetadata = (): Json => structuredClone(GOOD)

/** Both header copies of a volume, in every point as given and in every other good. */
export function forge(forgery: Forgery = {}): Buffer {
    const hdrSize = forgery.hdrSize ?? HDR_SIZE
    const { secondary = forgery } = forgery
    const image = Buffer.concat([copy(forgery, 'LUKS', 0, hdrSize), copy(secondary, 'SKUL', hdrSize, hdrSize)])
    return forgery.bytes ? forgery.bytes(image) : image
}

/** The same for metadata that is a text already. */
export const forgeText = (text: string): Buffer => forge({ text: () => text })

/** Changes the metadata of a real image in both copies, and fields of their binary headers. */
export function reforge(image: Buffer, changes: Changes, header: Partial<BinaryHeader> = {}): Buffer {
    const hdrSize = Number(BINARY_HEADER.parse(image.subarray(0, BINARY_HEADER.size)).hdrSize)
    const area = image.subarray(BINARY_HEADER.size, hdrSize)
    const metadata = JSON.parse(area.subarray(0, area.indexOf(0)).toString()) as Json
    apply(metadata, changes)
    const out = Buffer.from(image)
    for (const offset of [0, hdrSize]) {
        out.fill(0, offset + BINARY_HEADER.size, offset + hdrSize)
        out.write(JSON.stringify(metadata), offset + BINARY_HEADER.size)
        const fields = BINARY_HEADER.parse(out.subarray(offset, offset + BINARY_HEADER.size))
        BINARY_HEADER.encode({ ...fields, ...header }).copy(out, offset)
        seal(out.subarray(offset, offset + hdrSize), 'sha256')
    }
    return out
}

function copy({ set = {}, text, header }: CopyForgery, magic: string, offset: number, hdrSize: number): Buffer {
    const object = goodMetadata()
    object.config.json_size = String(hdrSize - BINARY_HEADER.size)
    apply(object, set)
    const json = JSON.stringify(object)
    const fields: BinaryHeader = {
        magic: Buffer.from(`${magic}\xba\xbe`, 'latin1'),
        version: 2,
        hdrSize: BigInt(hdrSize),
        seqid: 7n,
        label: '',
        csumAlg: 'sha256',
        salt: createHash('sha512').update(magic).digest(),
        uuid: UUID,
        subsystem: '',
        hdrOffset: BigInt(offset),
        csum: Buffer.alloc(64),
        ...header,
    }
    const bytes = Buffer.alloc(hdrSize)
    BINARY_HEADER.encode(fields).copy(bytes)
    bytes.write(text?.(json) ?? json, BINARY_HEADER.size)
    if (!header?.csum) seal(bytes, fields.csumAlg)
    return bytes
}

function seal(bytes: Buffer, algorithm: string): void {
    const { offset, size } = BINARY_HEADER.fields.csum
    bytes.fill(0, offset, offset + size)
    createHash(algorithm).update(bytes).digest().copy(bytes, offset)
}

function apply(metadata: Json, changes: Changes): void {
    for (const [path, value] of Object.entries(changes)) {
        const names = path.split('.')
        const last = names.pop() as string
        const parent = names.reduce((object, name) => object[name], metadata)
        if (value === undefined) delete parent[last]
        else parent[last] = value
    }
}
