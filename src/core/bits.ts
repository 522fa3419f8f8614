// Declarative bit fields: a table of names, positions and meanings reads a 32- or 64-bit word.
// SPDX-License-Identifier: Apache-2.0

/** A flag at one bit, or a number in bits `[high, low]`; each with what it means when it is set. */
export interface BitRow {
    readonly bits: number | readonly [high: number, low: number]
    readonly means: string
}

type BitTable = Readonly<Record<string, BitRow>>

export type BitValues<T extends BitTable> = {
    readonly [K in keyof T]: T[K]['bits'] extends number ? boolean : number
}

export interface Bits<T extends BitTable> {
    readonly title: string
    readonly table: T
    /** Every named field of the word. */
    read(word: bigint): BitValues<T>
    /** The word with nothing but the named fields left: zero where every set bit has a name. */
    unknown(word: bigint): bigint
    /** The word that has these fields; what is not named is zero. */
    write(values: Partial<BitValues<T>>): bigint
}

export function bitTable<const T extends BitTable>(title: string, table: T): Bits<T> {
    const rows = Object.entries(table).map(([name, { bits }]) => {
        const [high, low] = typeof bits === 'number' ? [bits, bits] : bits
        if (low > high || high > 63) throw new TypeError(`${title}.${name}: no place in the word`)
        if (high >> 5 !== low >> 5) throw new TypeError(`${title}.${name}: crosses the middle of the word`)
        const mask = 2 ** (high - low + 1) - 1
        return { name, flag: typeof bits === 'number', low, mask }
    })
    let known = 0n
    for (const { name, low, mask } of rows) {
        const place = BigInt(mask) << BigInt(low)
        if (known & place) throw new TypeError(`${title}.${name}: overlaps another field`)
        known |= place
    }
    return {
        title,
        table,
        read(word) {
            // In halves: arithmetic on bigints costs more than all the rest of reading a report.
            const halves = [Number(word & 0xffffffffn), Number(word >> 32n)]
            const out: Record<string, boolean | number> = {}
            for (const { name, flag, low, mask } of rows) {
                const value = (((halves[low >> 5] ?? 0) >>> (low & 31)) & mask) >>> 0
                out[name] = flag ? value === 1 : value
            }
            return Object.freeze(out) as BitValues<T>
        },
        unknown: (word) => word & ~known,
        write: (values) =>
            rows.reduce((word, { name, low, mask }) => {
                const value = (values as Record<string, boolean | number | undefined>)[name] ?? 0
                return word | ((BigInt(value) & BigInt(mask)) << BigInt(low))
            }, 0n),
    }
}

/** Each flag of a word as a person reads it, but for some; and the bits that have no name. */
export function describeBits<T extends BitTable>(
    bits: Bits<T>,
    word: bigint,
    but: readonly string[] = [],
): { readonly name: string; readonly value: string; readonly means: string }[] {
    const values: Readonly<Record<string, boolean | number>> = bits.read(word)
    const named = Object.entries(bits.table)
        .filter(([name]) => !but.includes(name))
        .map(([name, { means }]) => ({ name: `  ${name}`, value: values[name] ? 'yes' : 'no', means }))
    const unknown = bits.unknown(word)
    if (unknown === 0n) return named
    return [
        ...named,
        { name: '  unknown bits', value: `0x${unknown.toString(16)}`, means: 'no meaning is known for them' },
    ]
}
