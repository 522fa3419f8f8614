// Protocol Buffers, the binary form of proto3 (protobuf.dev, "Encoding"): a table of named fields parses and encodes a
// message. Done: string, bytes, uint32, int64, and a message within a message. Stricter than the format: a field that
// stands twice is refused, because two readers must not see two messages; so is a number that its type cannot hold.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from './errors.ts'

/** What stands in a field: a number, bytes, or something of a fixed size, which no field here is. */
type Raw = bigint | Buffer | null

export interface ProtoField<T> {
    /** By which it is found. */
    readonly number: number
    /** Its value where a message does not have it. */
    readonly absent: T
    readonly read: (raw: Raw, where: string) => T
    /** Null for what a message leaves out. */
    readonly write: (value: T) => bigint | Uint8Array | null
}

// biome-ignore lint/suspicious/noExplicitAny: a table mixes fields of every type; the mapped type below recovers each.
type Fields = Readonly<Record<string, ProtoField<any>>>

export type Values<F extends Fields> = {
    readonly [K in keyof F]: F[K] extends ProtoField<infer T> ? T : never
}

export interface Message<F extends Fields> {
    readonly title: string
    /** Fields that the table does not name are passed over. @throws AttestError ERR_ENCODING */
    parse(bytes: Uint8Array): Values<F>
    encode(values: Values<F>): Buffer
}

const VARINT = 0
const FIXED64 = 1
const DELIMITED = 2
const FIXED32 = 5

const MAX_NUMBER = 0x1fff_ffffn

export function message<F extends Fields>(title: string, fields: F): Message<F> {
    const rows = Object.entries(fields).map(([name, field]) => ({ name, field, where: `${title}.${name}` }))
    const byNumber = new Map(rows.map((row) => [row.field.number, row]))
    if (byNumber.size !== rows.length) throw new TypeError(`${title}: two fields have one number`)
    return {
        title,
        parse(bytes) {
            const out: Record<string, unknown> = {}
            for (const { name, field } of rows) out[name] = field.absent
            const seen = new Set<number>()
            for (const [number, raw] of readFields(bytes, title)) {
                const row = byNumber.get(number)
                if (!row) continue
                if (seen.has(number)) throw malformed(row.where, 'it stands twice')
                seen.add(number)
                out[row.name] = row.field.read(raw, row.where)
            }
            return Object.freeze(out) as Values<F>
        },
        encode: (values) =>
            Buffer.concat(
                rows.flatMap(({ name, field }) => writeField(field.number, field.write(values[name as keyof F]))),
            ),
    }
}

export const uint32 = (number: number): ProtoField<number> => ({
    number,
    absent: 0,
    read(raw, where) {
        const value = wantNumber(raw, where)
        if (value > 0xffff_ffffn) throw malformed(where, `${value} has more than 32 bits`)
        return Number(value)
    },
    write: (value) => (value === 0 ? null : BigInt(value)),
})

export const int64 = (number: number): ProtoField<bigint> => ({
    number,
    absent: 0n,
    read: (raw, where) => BigInt.asIntN(64, wantNumber(raw, where)),
    write: (value) => (value === 0n ? null : BigInt.asUintN(64, value)),
})

export const bytes = (number: number): ProtoField<Uint8Array> => ({
    number,
    absent: Buffer.alloc(0),
    read: wantBytes,
    write: (value) => (value.length === 0 ? null : value),
})

export const string = (number: number): ProtoField<string> => ({
    number,
    absent: '',
    read(raw, where) {
        try {
            return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(wantBytes(raw, where))
        } catch (cause) {
            if (cause instanceof TypeError) throw malformed(where, 'it is not UTF-8')
            throw cause
        }
    },
    write: (value) => (value === '' ? null : Buffer.from(value)),
})

/** A message within a message; null where there is none. */
export const nested = <F extends Fields>(number: number, inner: Message<F>): ProtoField<Values<F> | null> => ({
    number,
    absent: null,
    read: (raw, where) => inner.parse(wantBytes(raw, where)),
    write: (value) => (value === null ? null : inner.encode(value)),
})

/** The fields of a message in their order. */
function* readFields(source: Uint8Array, title: string): Generator<readonly [number: number, raw: Raw]> {
    const all = Buffer.from(source.buffer, source.byteOffset, source.byteLength)
    let at = 0
    const take = (length: bigint): Buffer => {
        if (length > BigInt(all.length - at))
            throw malformed(title, `a field of ${length} bytes at ${at}, and ${all.length - at} are left`)
        const taken = all.subarray(at, at + Number(length))
        at += taken.length
        return taken
    }
    const number = (): bigint => {
        let value = 0n
        for (let shift = 0n; shift < 70n; shift += 7n) {
            const [byte = 0] = take(1n)
            value |= BigInt(byte & 0x7f) << shift
            if (byte < 0x80 && value >> 64n === 0n) return value
        }
        throw malformed(title, `a number before ${at} has more than 64 bits`)
    }
    while (at < all.length) {
        const tag = number()
        const id = tag >> 3n
        if (id === 0n || id > MAX_NUMBER) throw malformed(title, `no field has the number ${id}`)
        yield [Number(id), rawOf(Number(tag & 7n))]
    }

    function rawOf(wireType: number): Raw {
        if (wireType === VARINT) return number()
        if (wireType === DELIMITED) return take(number())
        if (wireType !== FIXED64 && wireType !== FIXED32) throw malformed(title, `wire type ${wireType} at ${at}`)
        take(wireType === FIXED64 ? 8n : 4n)
        return null
    }
}

function writeField(number: number, raw: bigint | Uint8Array | null): Uint8Array[] {
    if (raw === null) return []
    const tag = (wireType: number) => varint((BigInt(number) << 3n) | BigInt(wireType))
    if (typeof raw === 'bigint') return [tag(VARINT), varint(raw)]
    return [tag(DELIMITED), varint(BigInt(raw.length)), raw]
}

function varint(value: bigint): Buffer {
    const out: number[] = []
    for (let rest = value; ; rest >>= 7n) {
        const low = Number(rest & 0x7fn)
        if (rest < 0x80n) return Buffer.from([...out, low])
        out.push(low | 0x80)
    }
}

function wantNumber(raw: Raw, where: string): bigint {
    if (typeof raw === 'bigint') return raw
    throw malformed(where, 'expected a number')
}

function wantBytes(raw: Raw, where: string): Buffer {
    if (Buffer.isBuffer(raw)) return raw
    throw malformed(where, 'expected bytes')
}

const malformed = (where: string, why: string) => coreError('ERR_ENCODING', `${where}: malformed: ${why}`)
