// Declarative binary layouts: one table parses, encodes and documents a structure of fixed size.
// Little-endian unless a field says otherwise. A gap or an overlap in a table throws when it is loaded.
// SPDX-License-Identifier: Apache-2.0

import { isZero, toHex, wantLength } from './bytes.ts'
import { coreError } from './errors.ts'

/** One row of a layout. `T` is undefined for bytes that carry nothing: they vanish from the parsed type. */
export interface Field<T> {
    readonly offset: number
    readonly size: number
    readonly read: (bytes: Buffer, where: string) => T
    readonly write: (bytes: Buffer, value: T) => void
}

// biome-ignore lint/suspicious/noExplicitAny: a table mixes fields of every type; the mapped types below recover each.
type Fields = Readonly<Record<string, Field<any>>>
type Value<F> = F extends Field<infer T> ? T : never

/** What `parse` returns: a frozen object of the named fields. */
export type Parsed<F extends Fields> = {
    readonly [K in keyof F as Value<F[K]> extends undefined ? never : K]: Value<F[K]>
}

export interface Layout<F extends Fields> {
    readonly title: string
    readonly size: number
    readonly fields: F
    /** Exactly `size` bytes. @throws AttestError ERR_LENGTH, ERR_RESERVED */
    parse(bytes: Uint8Array): Parsed<F>
    encode(values: Parsed<F>): Buffer
}

export function layout<F extends Fields>(title: string, size: number, fields: F): Layout<F> {
    const rows = Object.entries(fields).map(([name, field]) => ({ name, field, where: `${title}.${name}` }))
    checkTable(title, size, rows)
    return {
        title,
        size,
        fields,
        parse(bytes) {
            wantLength(bytes, size, title)
            const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
            const out: Record<string, unknown> = {}
            for (const { name, field, where } of rows) {
                const value: unknown = field.read(buffer, where)
                if (value !== undefined) out[name] = value
            }
            return Object.freeze(out) as Parsed<F>
        },
        encode(values) {
            const bytes = Buffer.alloc(size)
            for (const { name, field } of rows) field.write(bytes, (values as Record<string, unknown>)[name])
            return bytes
        },
    }
}

export const u8 = (offset: number): Field<number> => ({
    offset,
    size: 1,
    read: (b) => b.readUInt8(offset),
    write: (b, v) => void b.writeUInt8(v, offset),
})

export const u16 = (offset: number): Field<number> => ({
    offset,
    size: 2,
    read: (b) => b.readUInt16LE(offset),
    write: (b, v) => void b.writeUInt16LE(v, offset),
})

export const u32 = (offset: number): Field<number> => ({
    offset,
    size: 4,
    read: (b) => b.readUInt32LE(offset),
    write: (b, v) => void b.writeUInt32LE(v, offset),
})

export const u64 = (offset: number): Field<bigint> => ({
    offset,
    size: 8,
    read: (b) => b.readBigUInt64LE(offset),
    write: (b, v) => void b.writeBigUInt64LE(v, offset),
})

export const u16be = (offset: number): Field<number> => ({
    offset,
    size: 2,
    read: (b) => b.readUInt16BE(offset),
    write: (b, v) => void b.writeUInt16BE(v, offset),
})

export const u32be = (offset: number): Field<number> => ({
    offset,
    size: 4,
    read: (b) => b.readUInt32BE(offset),
    write: (b, v) => void b.writeUInt32BE(v, offset),
})

export const u64be = (offset: number): Field<bigint> => ({
    offset,
    size: 8,
    read: (b) => b.readBigUInt64BE(offset),
    write: (b, v) => void b.writeBigUInt64BE(v, offset),
})

/** Bytes, copied out of the source. */
export const bytes = (offset: number, size: number): Field<Buffer> => ({
    offset,
    size,
    read: (b) => Buffer.from(b.subarray(offset, offset + size)),
    write: (b, v) => void b.set(wantLength(v, size, `bytes at ${hex(offset)}`), offset),
})

/** ASCII text, padded with zero bytes; nothing may follow the first of them. */
export const text = (offset: number, size: number): Field<string> => ({
    offset,
    size,
    read(b, where) {
        const all = b.subarray(offset, offset + size)
        const end = all.indexOf(0)
        const used = end < 0 ? all : all.subarray(0, end)
        if (end >= 0) mustBeZero(all.subarray(end), offset + end, where)
        if (!used.every((c) => c >= 0x20 && c < 0x7f)) throw coreError('ERR_ENCODING', `${where}: not ASCII text`)
        return used.toString('latin1')
    },
    write: (b, v) => void b.write(v, offset, size, 'latin1'),
})

/** A structure within a structure. */
export const struct = <F extends Fields>(offset: number, inner: Layout<F>): Field<Parsed<F>> => ({
    offset,
    size: inner.size,
    read: (b) => inner.parse(b.subarray(offset, offset + inner.size)),
    write: (b, v) => void b.set(inner.encode(v), offset),
})

/** Reserved: must be zero. */
export const zero = (offset: number, size: number): Field<undefined> => ({
    offset,
    size,
    read: (b, where) => mustBeZero(b.subarray(offset, offset + size), offset, where),
    write: () => undefined,
})

/** Bytes that nobody defines and nobody checks. */
export const ignored = (offset: number, size: number): Field<undefined> => ({
    offset,
    size,
    read: () => undefined,
    write: () => undefined,
})

function mustBeZero(range: Buffer, offset: number, where: string): undefined {
    if (isZero(range)) return undefined
    const at = range.findIndex((byte) => byte !== 0)
    throw coreError(
        'ERR_RESERVED',
        `${where}: [${hex(offset)}, +${range.length}) is reserved and must be zero, got ${toHex(range.subarray(at, at + 1))} at ${hex(offset + at)}`,
    )
}

function checkTable(title: string, size: number, rows: readonly { field: Field<unknown>; where: string }[]): void {
    let next = 0
    for (const { field, where } of rows.toSorted((a, b) => a.field.offset - b.field.offset)) {
        if (field.offset !== next)
            throw new TypeError(`${where}: starts at ${hex(field.offset)}, the field before ends at ${hex(next)}`)
        next += field.size
    }
    if (next !== size) throw new TypeError(`${title}: the fields end at ${hex(next)}, its size is ${hex(size)}`)
}

const hex = (n: number): string => `0x${n.toString(16)}`
