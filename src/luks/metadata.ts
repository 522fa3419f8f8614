// The JSON metadata. LUKS2 On-Disk Format Specification 1.1, "LUKS2 JSON Metadata Format". First the outline, whose
// objects may be of any type, so that a type that is not accepted can be named; then each object by the schema of its
// type. An unknown member is refused: what this reader would skip, another one may obey.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { fromBase64 } from '#core/bytes.ts'
import { parseJson } from '#core/json.ts'
import { issues, type Schema } from '#core/schema.ts'
import { brief, type LuksCode, luksError } from './errors.ts'
import { primaryCopy } from './header.ts'

/** Members and elements: 32 of each kind of object have some 1000. */
const MAX_VALUES = 10_000

/** The salt of every key derivation: cryptsetup takes no other length. */
const SALT_SIZE = 32

const u32 = z.int().check(z.minimum(0), z.maximum(0xffff_ffff))

/** A 64-bit number as the specification writes it: decimal digits in a string. Nineteen digits are below 2^64. */
const u64 = z.pipe(
    z.string().check(z.regex(/^(?:0|[1-9]\d{0,18})$/, 'expected a decimal number')),
    z.transform((digits) => BigInt(digits)),
)

/** Null is `dynamic`: to the end of the device. */
const segmentSize = z.pipe(
    z.string().check(z.regex(/^(?:dynamic|[1-9]\d{0,18})$/, 'expected `dynamic` or a decimal number above 0')),
    z.transform((size) => (size === 'dynamic' ? null : BigInt(size))),
)

const base64 = (size?: number) =>
    z
        .string()
        .check(
            z.refine((text) => decodes(text, size), `expected base64${size === undefined ? '' : ` of ${size} bytes`}`),
        )

/** One value of a set, and the message says which one came. */
const oneOf = <const T extends string | number>(values: T[]) =>
    z.literal(values, { error: ({ input }) => `expected ${values.join(' or ')}, got ${show(input)}` })

const names = z.array(z.string()).check(z.maxLength(32))

/** At most 32 objects by number, each with a type. */
const entries = z
    .record(z.string(), z.looseObject({ type: z.string() }))
    .check(z.refine((objects) => Object.keys(objects).every(isNumber), 'expected the keys to be numbers from 0 to 31'))

export const METADATA = z.strictObject({
    keyslots: entries,
    tokens: entries,
    segments: entries,
    digests: entries,
    config: z.strictObject({
        json_size: u64,
        keyslots_size: u64,
        flags: z.optional(names),
        requirements: z.optional(z.strictObject({ mandatory: z.optional(names) })),
    }),
})

export const SEGMENT = z.strictObject({
    type: oneOf(['crypt']),
    offset: u64,
    size: segmentSize,
    iv_tweak: oneOf(['0']),
    encryption: z.string(),
    sector_size: oneOf([512, 4096]),
    flags: z.optional(names),
    integrity: z.optional(
        z.strictObject({
            type: z.string(),
            journal_encryption: oneOf(['none']),
            journal_integrity: oneOf(['none']),
            key_size: z.optional(u32),
        }),
    ),
})

export const KEYSLOT = z.strictObject({
    type: oneOf(['luks2']),
    key_size: u32,
    priority: z.optional(oneOf([0, 1, 2])),
    af: z.strictObject({ type: oneOf(['luks1']), stripes: oneOf([4000]), hash: z.string() }),
    area: z.strictObject({ type: oneOf(['raw']), encryption: z.string(), key_size: u32, offset: u64, size: u64 }),
    kdf: z.looseObject({ type: z.string() }),
})

export const PBKDF2 = z.strictObject({
    type: oneOf(['pbkdf2']),
    hash: z.string(),
    iterations: u32,
    salt: base64(SALT_SIZE),
})

export const ARGON2 = z.strictObject({
    type: oneOf(['argon2i', 'argon2id']),
    time: u32,
    memory: u32,
    cpus: u32,
    salt: base64(SALT_SIZE),
})

export const DIGEST = z.strictObject({
    type: oneOf(['pbkdf2']),
    keyslots: names,
    segments: names,
    hash: z.string(),
    iterations: u32,
    salt: base64(SALT_SIZE),
    digest: base64(),
})

/** What a token's owner puts beside these is the owner's; clevis has a flattened JWE there. */
export const TOKEN = z.looseObject({
    type: z.string(),
    keyslots: names,
    jwe: z.optional(z.looseObject({ protected: z.string() })),
})

/** The protected header of clevis' JWE: the pin's name, and under that name what is the pin's. */
export const CLEVIS_HEADER = z.looseObject({ clevis: z.looseObject({ pin: z.string() }) })

/** What `sss` keeps there: how many of these compact JWEs have to open. */
export const SSS = z.looseObject({ t: z.int().check(z.minimum(1)), jwe: z.array(z.string()) })

export type Metadata = z.infer<typeof METADATA>
export type Segment = z.infer<typeof SEGMENT>
export type Keyslot = z.infer<typeof KEYSLOT>
export type Pbkdf2 = z.infer<typeof PBKDF2>
export type Argon2 = z.infer<typeof ARGON2>
export type Digest = z.infer<typeof DIGEST>
export type Token = z.infer<typeof TOKEN>

/**
 * Reads a JSON area: a text from its first byte to a zero byte, and nothing but zeros behind.
 * @throws AttestError ERR_LUKS_METADATA, ERR_JSON
 */
export function parseMetadata(area: Buffer): Metadata {
    const refuse = (text: string) => luksError('ERR_LUKS_METADATA', `JSON area: ${text}`)
    const end = area.indexOf(0)
    if (end < 0) throw refuse('no zero byte ends it')
    if (area[0] !== 0x7b) throw refuse('expected { at its start')
    const hidden = area.subarray(end).findIndex((byte) => byte !== 0)
    if (hidden >= 0) throw refuse(`byte ${end + hidden} is not zero, the text ends at ${end}`)
    const value = parseJson(area.subarray(0, end), {
        title: 'JSON area',
        maxBytes: area.length,
        maxValues: MAX_VALUES,
    })
    refuseZeros(value)
    return fit(METADATA, value, 'JSON area', 'ERR_LUKS_METADATA')
}

/** What the first copy of a header says. @throws AttestError ERR_LUKS_*, ERR_JSON */
export const metadataOf = (copy: Buffer): Metadata => parseMetadata(primaryCopy(copy).json)

/** An object as its schema sees it. @throws AttestError of the given code, naming the members that do not fit */
export function fit<T>(schema: Schema<T>, value: unknown, where: string, code: LuksCode): T {
    const result = schema.safeParse(value)
    if (result.success) return result.data
    const text = issues(result.error)
    throw luksError(code, `${where}: ${text.length > 300 ? `${text.slice(0, 300)}…` : text}`)
}

// What no schema sees: a zero character, at which cryptsetup's strings end. It reads the key `segments\0x` as `segments`,
// where it replaces the member that everybody else sees, and the cipher `cipher_null-ecb\0…` as the null cipher.
function refuseZeros(value: unknown): void {
    if (typeof value === 'string' && value.includes('\0'))
        throw luksError('ERR_LUKS_METADATA', `JSON area: a zero character in ${brief(value)}`)
    if (typeof value !== 'object' || value === null) return
    for (const [key, member] of Object.entries(value)) {
        refuseZeros(key)
        refuseZeros(member)
    }
}

const isNumber = (key: string): boolean => /^(?:[12]?\d|3[01])$/.test(key)

// Objects are not shown: they have members of any name, `toString` among them.
function show(value: unknown): string {
    if (typeof value === 'string') return brief(value)
    return typeof value === 'object' && value !== null ? 'no text' : String(value).slice(0, 32)
}

function decodes(text: string, size?: number): boolean {
    try {
        return fromBase64(text, 'base64', size).length > 0
    } catch {
        return false
    }
}
