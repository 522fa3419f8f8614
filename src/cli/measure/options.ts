// The options of `measure X`, which technologies bring as data: the table for the command line, and the values that are
// measured. Files are read once, and what was read is what the output names.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import type { Options } from 'yargs'
import { coreError } from '#core/errors.ts'
import { fileError, readInput } from '#core/files.ts'
import type { HashedFile, InputFile, MeasureRow, MeasureRows, MeasureTypes, MeasureValues } from '#evidence/measure.ts'
import { readHex, readWord } from '../options/bytes.ts'
import { spelled } from '../options/spelled.ts'

const MAX_FILE_BYTES = 64 * 1024 * 1024

/** By the names on the command line. */
export function measureOptions(rows: MeasureRows): Record<string, Options> {
    return Object.fromEntries(Object.entries(rows).map(([name, row]) => [spelled(name), optionOf(row)]))
}

function optionOf({ type, describe, required, choices }: MeasureRow): Options {
    const demanded = required ? { demandOption: true } : {}
    switch (type) {
        case 'flag':
            return { type: 'boolean', default: false, describe }
        case 'number':
            return { type: 'number', describe, ...demanded }
        case 'files':
            return { type: 'array', string: true, default: [], describe, ...demanded }
        case 'choice':
            return { type: 'string', choices: choices ?? [], default: choices?.[0], describe }
        default:
            return { type: 'string', describe, ...demanded }
    }
}

/** @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE, ERR_FILE_KIND, ERR_FILE, ERR_LENGTH */
export function readMeasureValues<Rows extends MeasureRows>(
    rows: Rows,
    given: Readonly<Record<string, unknown>>,
): MeasureValues<Rows> {
    const values = Object.entries(rows)
        .filter(([name]) => given[name] !== undefined)
        .map(([name, row]) => [name, READERS[row.type](given[name] as never, `--${spelled(name)}`, row)])
    return Object.fromEntries(values) as MeasureValues<Rows>
}

type Reader<T> = (value: never, option: string, row: MeasureRow) => T

const readFile = (name: string, { maxBytes = MAX_FILE_BYTES }: MeasureRow): InputFile => ({
    name,
    bytes: readInput(name, maxBytes),
})

const PART = 1024 * 1024

function hashFile(name: string): HashedFile {
    try {
        const fd = openSync(name, 'r')
        try {
            const hash = createHash('sha256')
            const part = Buffer.alloc(PART)
            let size = 0
            for (let got = readSync(fd, part); got > 0; got = readSync(fd, part)) {
                hash.update(part.subarray(0, got))
                size += got
            }
            return { name, size, sha256: hash.digest() }
        } finally {
            closeSync(fd)
        }
    } catch (cause) {
        throw fileError(name, cause)
    }
}

const READERS: { readonly [K in keyof MeasureTypes]: Reader<MeasureTypes[K]> } = {
    file: (path: string, _, row) => readFile(path, row),
    files: (paths: readonly string[], _, row) => paths.map((path) => readFile(path, row)),
    hashed: hashFile,
    flag: (value: boolean) => value,
    number: (value: number) => value,
    size: readSize,
    word: readNumber,
    bytes: readHex,
    text: (value: string) => value,
    choice: (value: string) => value,
}

// Without 0x other calculators read decimal digits, and this program's other commands hex: neither is silently meant.
function readNumber(text: string, option: string): bigint {
    if (!/^\d{2,}$/.test(text)) return readWord(text, option)
    const other = /^\d{1,20}$/.test(text) ? ` (of decimal digits: 0x${BigInt(text).toString(16)})` : ''
    throw coreError('ERR_USAGE', `${option} ${text}: write 0x${text}${other}`)
}

const UNITS = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 } as const

/** Bytes, or as QEMU writes sizes: `512M`, `4G`. @throws AttestError ERR_USAGE */
export function readSize(text: string, option: string): number {
    const [, digits, unit = ''] = /^([1-9]\d{0,15})([KMGT]?)$/i.exec(text) ?? []
    const size = Number(digits) * UNITS[unit.toUpperCase() as keyof typeof UNITS]
    if (digits !== undefined && Number.isSafeInteger(size)) return size
    throw coreError(
        'ERR_USAGE',
        `${option}: expected bytes, or a number with K, M, G or T, got ${JSON.stringify(text)}`,
    )
}

/** What was measured, as it is printed: a file by its name, size and SHA-256. */
export function describeInputs(rows: MeasureRows, values: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const describe = (value: unknown): unknown => {
        if (Array.isArray(value)) return value.map(describe)
        if (isFile(value)) return describeFile(value)
        if (Buffer.isBuffer(value)) return value.toString('hex')
        return typeof value === 'bigint' ? `0x${value.toString(16)}` : value
    }
    return Object.fromEntries(
        Object.keys(rows)
            .filter((name) => values[name] !== undefined)
            .map((name) => [name, describe(values[name])]),
    )
}

const isFile = (value: unknown): value is InputFile | HashedFile =>
    typeof value === 'object' && value !== null && 'name' in value && ('bytes' in value || 'sha256' in value)

function describeFile(file: InputFile | HashedFile) {
    const { size, sha256 } =
        'bytes' in file ? { size: file.bytes.length, sha256: createHash('sha256').update(file.bytes).digest() } : file
    return { path: file.name, bytes: size, sha256: sha256.toString('hex') }
}
