// What a guest and the quoting service of its host (QGS) say to each other: Intel DCAP, qgs_msg_lib.h, version 1.
// Little-endian; the length that stands before a message, on a socket and in a GetQuote request, is big-endian.
// Done: a quote's request and its answer. The answers to other requests are refused by name.
// SPDX-License-Identifier: Apache-2.0

import { layout, u16, u32 } from '#core/layout.ts'
import { driverError } from '../errors.ts'

export const MESSAGE_HEADER = layout('qgs message', 16, {
    major: u16(0),
    minor: u16(2),
    type: u32(4),
    /** Of the whole message. */
    size: u32(8),
    errorCode: u32(12),
})

export const MESSAGE_TYPES = {
    getQuoteRequest: 0,
    getQuoteResponse: 1,
    getCollateralRequest: 2,
    getCollateralResponse: 3,
    getPlatformInfoRequest: 4,
    getPlatformInfoResponse: 5,
} as const

/** What the service says instead of a quote. */
export const MESSAGE_ERRORS: Readonly<Record<number, string>> = {
    73729: 'an unexpected error',
    73730: 'out of memory',
    73731: 'a parameter is not valid',
    73732: 'the version of the message is not supported',
    73733: 'the type of the message is not supported',
    73734: 'the size of the message is wrong',
    73735: 'the error code of the message is wrong',
}

/** Largest message that is read: what a quote may have, and Linux hands over. */
export const MAX_MESSAGE_SIZE = 128 * 1024

/** The big-endian length before a message. */
export const LENGTH_SIZE = 4

const MAJOR = 1
const MINORS: readonly number[] = [0, 1]

/** Before the report, and before the quote: the sizes of a key's id, or a list of them, and of the bytes. */
const SIZES_SIZE = 8

/** The request for a quote of this TDREPORT by whichever key the service has, with its length before it. */
export function encodeQuoteRequest(tdReport: Uint8Array): Buffer {
    const sizes = Buffer.alloc(SIZES_SIZE)
    sizes.writeUInt32LE(tdReport.length, 0)
    const size = MESSAGE_HEADER.size + SIZES_SIZE + tdReport.length
    const header = { major: MAJOR, minor: 0, type: MESSAGE_TYPES.getQuoteRequest, size, errorCode: 0 }
    return withLength(Buffer.concat([MESSAGE_HEADER.encode(header), sizes, tdReport]))
}

/** A message as it goes over a socket. */
export function withLength(message: Uint8Array): Buffer {
    const length = Buffer.alloc(LENGTH_SIZE)
    length.writeUInt32BE(message.length)
    return Buffer.concat([length, message])
}

/** What follows a length. @throws AttestError ERR_QUOTE_MESSAGE */
export function readLength(bytes: Buffer): number {
    const length = bytes.readUInt32BE(0)
    if (length >= MESSAGE_HEADER.size && length <= MAX_MESSAGE_SIZE) return length
    throw malformed(`a message has ${MESSAGE_HEADER.size} to ${MAX_MESSAGE_SIZE} bytes, this one announces ${length}`)
}

/** Whether these bytes are a message with its length before it, rather than a quote. */
export function isMessage(bytes: Buffer): boolean {
    if (bytes.length < LENGTH_SIZE + MESSAGE_HEADER.size) return false
    const { major, minor, type, size } = MESSAGE_HEADER.parse(bytes.subarray(LENGTH_SIZE).subarray(0, 16))
    return (
        major === MAJOR &&
        MINORS.includes(minor) &&
        type === MESSAGE_TYPES.getQuoteResponse &&
        size === bytes.readUInt32BE(0)
    )
}

/**
 * The quote in the service's answer, without the length before it.
 * @throws AttestError ERR_QUOTE_MESSAGE, ERR_QUOTE_FAILED, ERR_QUOTE_EMPTY
 */
export function readQuoteResponse(message: Buffer): Buffer {
    if (message.length < MESSAGE_HEADER.size) throw malformed(`it has ${message.length} bytes`)
    const { major, minor, type, size, errorCode } = MESSAGE_HEADER.parse(message.subarray(0, MESSAGE_HEADER.size))
    if (major !== MAJOR || !MINORS.includes(minor)) throw malformed(`its version is ${major}.${minor}`)
    if (type !== MESSAGE_TYPES.getQuoteResponse) throw malformed(`it answers another request (type ${type})`)
    if (size !== message.length) throw malformed(`it says that it has ${size} bytes, and has ${message.length}`)
    if (errorCode !== 0) throw refused(errorCode)
    const sizesEnd = MESSAGE_HEADER.size + SIZES_SIZE
    if (size < sizesEnd) throw malformed('it has no quote')
    const idSize = message.readUInt32LE(MESSAGE_HEADER.size)
    const quoteSize = message.readUInt32LE(MESSAGE_HEADER.size + 4)
    if (sizesEnd + idSize + quoteSize !== size)
        throw malformed(`an id of ${idSize} bytes and a quote of ${quoteSize} are not what it has`)
    if (quoteSize === 0) throw driverError('ERR_QUOTE_EMPTY', 'the quoting service answered with an empty quote')
    return Buffer.from(message.subarray(sizesEnd + idSize))
}

function refused(code: number) {
    const means = MESSAGE_ERRORS[code] ?? 'for a reason that is not known'
    return driverError('ERR_QUOTE_FAILED', `the quoting service refuses: ${means} (0x${code.toString(16)})`, {
        hint: "the host's operator finds the reason in the log of its quoting service (qgsd)",
    })
}

const malformed = (text: string) =>
    driverError('ERR_QUOTE_MESSAGE', `the answer of the quoting service is malformed: ${text}`)
