// Strict JSON (RFC 8259 as narrowed by RFC 7493, I-JSON) for whatever comes from outside.
// Repeated keys are refused: two readers of one text must not see two messages. Integers that a double cannot
// hold come back as bigint instead of being rounded.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, coreError, excerpt, messageOf } from './errors.ts'

export interface JsonLimits {
    /** What the text is, for error messages. */
    readonly title: string
    /** Largest size in bytes; 256 KiB unless told. */
    readonly maxBytes?: number
    /** Deepest nesting of arrays and objects; 32 unless told. */
    readonly maxDepth?: number
    /** Most members and elements in all; 65536 unless told. A schema that finds fault with each must come to an end. */
    readonly maxValues?: number
}

/**
 * Parses a whole JSON text. Its bytes must be UTF-8.
 * @throws AttestError ERR_JSON
 */
export function parseJson(source: string | Uint8Array, limits: JsonLimits): unknown {
    const { title, maxBytes = 256 * 1024, maxDepth = 32, maxValues = 65_536 } = limits
    const size = typeof source === 'string' ? Buffer.byteLength(source) : source.length
    if (size > maxBytes)
        throw coreError('ERR_JSON', `${title}: ${size} bytes of JSON, at most ${maxBytes} are accepted`)
    const text = typeof source === 'string' ? source : decodeUtf8(source, title)
    const { wideIntegers } = scan(text, title, maxDepth, maxValues)
    try {
        return wideIntegers ? JSON.parse(text, exactIntegers(title)) : JSON.parse(text)
    } catch (cause) {
        if (cause instanceof AttestError) throw cause
        // V8's message quotes the text, which may hold a secret; its position is all that a person needs.
        const at = /position (\d+)/.exec(messageOf(cause))?.[1]
        throw coreError('ERR_JSON', `${title}: not JSON${at === undefined ? '' : ` (at character ${at})`}`)
    }
}

/**
 * The text of one member's value in the object that a whole text is, exactly as it stands there: what a signature over
 * it is made of. Undefined where no member is written with that name. The text must have passed `parseJson`.
 */
export function memberText(text: string, name: string): string | undefined {
    const token = /["[\]{},]/g
    let depth = 0
    let start = -1
    for (let match = token.exec(text); match !== null; match = token.exec(text)) {
        const [found] = match
        if (found === '"') {
            const end = stringEnd(text, match.index)
            const colon = /\s*:\s*/y
            colon.lastIndex = end
            if (depth === 1 && start < 0 && text.slice(match.index + 1, end - 1) === name && colon.test(text))
                start = colon.lastIndex
            token.lastIndex = Math.max(start, end)
            continue
        }
        if (start >= 0 && depth === 1 && (found === ',' || found === '}'))
            return text.slice(start, match.index).trimEnd()
        if (found === '{' || found === '[') depth++
        else if (found !== ',') depth--
    }
    return undefined
}

/** JSON whose bigints are written as integers: the inverse of what parseJson does with wide ones. */
export function stringifyJson(value: unknown): string {
    return JSON.stringify(value, (_key, v: unknown) =>
        typeof v === 'bigint' ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(v.toString()) : v,
    )
}

function decodeUtf8(bytes: Uint8Array, title: string): string {
    try {
        return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    } catch {
        throw coreError('ERR_JSON', `${title}: not UTF-8`)
    }
}

// Words of 128 bits have fewer. BigInt takes time that grows faster than its text.
const MAX_DIGITS = 40

// JSON.parse judges the grammar afterwards, so this pass only has to follow strings and brackets. Evidence is thousands of
// small numbers: the expressions are such that the engine runs over those without stopping. Commas are counted only in
// a text that is long enough to hold too many values.
function scan(text: string, title: string, maxDepth: number, maxValues: number): { wideIntegers: boolean } {
    const open: (Set<string> | null)[] = []
    const token = text.length > 2 * maxValues ? /["[\]{},]/g : /["[\]{}]/g
    let values = 1
    for (let match = token.exec(text); match !== null; match = token.exec(text)) {
        const [found] = match
        if (found === '"') {
            token.lastIndex = stringEnd(text, match.index)
            noteKey(text, match.index, token.lastIndex, open.at(-1), title)
        } else if (found === '{' || found === '[') {
            open.push(found === '{' ? new Set() : null)
            if (open.length > maxDepth) throw coreError('ERR_JSON', `${title}: nested deeper than ${maxDepth}`)
        } else if (found !== ',') open.pop()
        else if (++values > maxValues) throw coreError('ERR_JSON', `${title}: more than ${maxValues} values`)
    }
    // Fewer digits fit a double; whether these do, exactIntegers looks.
    return { wideIntegers: /\d{16}/.test(text) }
}

// Where the string that begins at `start` ends; the end of the text where nothing closes it. A regular expression would
// try an open string again from each quote in it, in time that grows with the square of the text, and runs out of
// stack on a long one.
function stringEnd(text: string, start: number): number {
    for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
        let escapes = 0
        while (text[quote - 1 - escapes] === '\\') escapes++
        if (escapes % 2 === 0) return quote + 1
    }
    return text.length
}

function noteKey(text: string, start: number, end: number, keys: Set<string> | null | undefined, title: string): void {
    if (!keys) return
    const colon = /\s*:/y
    colon.lastIndex = end
    if (!colon.test(text)) return
    let key = text.slice(start + 1, end - 1)
    if (key.includes('\\'))
        try {
            key = JSON.parse(text.slice(start, end)) as string
        } catch {
            return // JSON.parse of the whole text will say so
        }
    if (key === '__proto__') throw coreError('ERR_JSON', `${title}: the key __proto__ is not accepted`)
    if (keys.has(key))
        throw coreError('ERR_JSON', `${title}: the key ${JSON.stringify(excerpt(key))} stands twice in one object`)
    keys.add(key)
}

const exactIntegers =
    (title: string) =>
    (_key: string, value: unknown, context?: { source?: string }): unknown => {
        const source = context?.source
        if (typeof value !== 'number' || !source || Number.isSafeInteger(value) || !/^-?\d+$/.test(source)) return value
        if (source.length > MAX_DIGITS)
            throw coreError('ERR_JSON', `${title}: an integer of more than ${MAX_DIGITS} digits`)
        return BigInt(source)
    }
