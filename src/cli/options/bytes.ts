// Bytes and words on the command line: `hex:…`, `b64:…` or `@FILE`, and hex alone where nothing else could be meant.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64, fromHex } from '#core/bytes.ts'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'

/** How the forms are described in `--help`. */
export const BYTES_FORMS = 'hex:…, b64:… or @FILE'

/** @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE */
export function readBytes(text: string, option: string): Buffer {
    if (text.startsWith('@')) return readInput(text.slice(1))
    if (text.startsWith('hex:')) return decoded(() => fromHex(text.slice(4), option))
    if (text.startsWith('b64:')) return decoded(() => fromBase64(text.slice(4), option))
    throw coreError('ERR_USAGE', `${option}: expected ${BYTES_FORMS}, got ${JSON.stringify(text)}`)
}

/** Hexadecimal where nothing else is meant. @throws AttestError ERR_USAGE */
export const readHex = (text: string, option: string): Buffer => decoded(() => fromHex(text, option))

/** SHA-384 in every technology that proves itself. */
const MEASUREMENT_SIZE = 48

/** @throws AttestError ERR_USAGE */
export function readMeasurement(text: string): Buffer {
    const bytes = readHex(text, '--measurement')
    if (bytes.length === MEASUREMENT_SIZE) return bytes
    const want = `${MEASUREMENT_SIZE} bytes (${2 * MEASUREMENT_SIZE} hex digits)`
    throw coreError('ERR_USAGE', `--measurement: expected ${want}, got ${bytes.length}`)
}

/** A word of up to 64 bits, with `0x` or without. @throws AttestError ERR_USAGE */
export function readWord(text: string, option: string): bigint {
    const [, hex] = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text) ?? []
    if (hex) return BigInt(`0x${hex}`)
    throw coreError('ERR_USAGE', `${option}: expected up to 16 hex digits, got ${JSON.stringify(text)}`)
}

// What is wrong on the command line is no "no" of a verdict.
function decoded(decode: () => Buffer): Buffer {
    try {
        return decode()
    } catch (cause) {
        if (errnoOf(cause) !== 'ERR_ENCODING') throw cause
        throw coreError('ERR_USAGE', messageOf(cause), { cause })
    }
}
