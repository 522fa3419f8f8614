// ttrpc, the small relative of gRPC, over any stream (containerd/ttrpc, PROTOCOL.md): a frame is ten bytes, big-endian
// (length, stream, type, flags), and one message of protobuf. Done: unary calls, one at a time on a connection, both
// sides. Not done: streams (version 1.2), metadata.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { coreError, errnoOf, messageOf } from './errors.ts'
import { ignored, layout, u8, u32be } from './layout.ts'
import { bytes, int64, message, nested, string, uint32 } from './protobuf.ts'
import { deadline } from './wait.ts'

/** What stands before each message. */
const HEADER = layout('ttrpc frame', 10, { length: u32be(0), stream: u32be(4), type: u8(8), flags: ignored(9, 1) })

export const FRAME_TYPES = { request: 1, response: 2 } as const

/** The most that a frame of ttrpc may hold. */
export const MAX_PAYLOAD = 4 * 1024 * 1024

/** google.rpc.Status. Its code is 0 only where there is no error. */
export const STATUS = message('ttrpc status', { code: uint32(1), message: string(2) })

export const REQUEST = message('ttrpc request', {
    service: string(1),
    method: string(2),
    payload: bytes(3),
    timeoutNano: int64(4),
})

export const RESPONSE = message('ttrpc response', { status: nested(1, STATUS), payload: bytes(2) })

/** Those of google.rpc.Code that are used here. */
export const CODES = { invalidArgument: 3, notFound: 5, unimplemented: 12, internal: 13, unavailable: 14 } as const

export interface TtrpcStatus {
    readonly code: number
    readonly message: string
}

/** What a call came to: a status that is not null is an error. */
export interface TtrpcAnswer {
    readonly status: TtrpcStatus | null
    readonly payload: Uint8Array
}

export interface TtrpcRequest {
    readonly service: string
    readonly method: string
    readonly payload: Uint8Array
}

export interface Frame {
    /** Which call it belongs to: odd, and greater than that of the call before. */
    readonly stream: number
    readonly type: number
    readonly payload: Uint8Array
}

export interface TtrpcOptions {
    /** How long one call may take; to a server, how long the next request may take to come. */
    readonly timeoutMs: number
    /** The most that a frame from the other side may hold. */
    readonly maxPayload?: number
}

export interface TtrpcClient {
    /**
     * One call, when the one before is over.
     * @throws AttestError ERR_TTRPC, ERR_ENCODING, ERR_INTERRUPTED; the stream's error; the signal's reason
     */
    call(request: TtrpcRequest, signal?: AbortSignal): Promise<TtrpcAnswer>
    close(): void
}

export const encodeFrame = ({ stream, type, payload }: Frame): Buffer =>
    Buffer.concat([HEADER.encode({ length: payload.length, stream, type }), payload])

/**
 * The frames of a stream, to its end. A length is checked before anything of its message is kept.
 * @throws AttestError ERR_TTRPC, the stream's error
 */
export async function* readFrames(source: AsyncIterable<Buffer>, maxPayload = MAX_PAYLOAD): AsyncGenerator<Frame> {
    let chunks: Buffer[] = []
    let have = 0
    let wanted = HEADER.size
    let header: ReturnType<typeof HEADER.parse> | undefined
    for await (const chunk of source) {
        chunks.push(chunk)
        have += chunk.length
        while (have >= wanted) {
            const all = chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks)
            const part = all.subarray(0, wanted)
            chunks = [all.subarray(wanted)]
            have -= wanted
            if (header) {
                yield { stream: header.stream, type: header.type, payload: part }
                header = undefined
                wanted = HEADER.size
            } else {
                header = HEADER.parse(part)
                wanted = header.length
                if (wanted > maxPayload)
                    throw broken(`a frame announces ${wanted} bytes, at most ${maxPayload} are accepted`)
            }
        }
    }
    if (have > 0 || header) throw broken(`the other side broke off after ${have} of ${wanted} bytes`)
}

/** Takes the stream over. */
export function ttrpcClient(stream: Duplex, { timeoutMs, maxPayload }: TtrpcOptions): TtrpcClient {
    const frames = readFrames(stream, maxPayload)
    stream.on('error', () => undefined) // a call tells of it
    const close = () => void stream.destroy()
    let id = -1
    return {
        close,
        async call({ service, method, payload }, parent) {
            using signal = deadline(timeoutMs, `${service}/${method}`, parent)
            signal.addEventListener('abort', close, { once: true })
            try {
                signal.throwIfAborted()
                id += 2
                const request = REQUEST.encode({
                    service,
                    method,
                    payload,
                    timeoutNano: BigInt(timeoutMs) * 1_000_000n,
                })
                await send(stream, { stream: id, type: FRAME_TYPES.request, payload: request })
                const { value: frame } = await frames.next()
                if (!frame) throw broken(`${service}/${method}: the other side ended without an answer`)
                return readAnswer(frame, id)
            } catch (error) {
                close()
                signal.throwIfAborted()
                throw failed(error)
            } finally {
                signal.removeEventListener('abort', close)
            }
        },
    }
}

/**
 * Answers the requests of a stream, one after the other, until the other side ends. Takes the stream over.
 * @throws AttestError ERR_TTRPC, ERR_INTERRUPTED where nothing came in time; the stream's error; what `answer` throws
 */
export async function serveTtrpc(
    stream: Duplex,
    answer: (request: TtrpcRequest) => Promise<TtrpcAnswer>,
    { timeoutMs, maxPayload }: TtrpcOptions,
): Promise<void> {
    // Whole frames alone are a sign of life, and an answer that nobody takes is none.
    const idle = setTimeout(
        () => stream.destroy(coreError('ERR_INTERRUPTED', `no whole request in ${timeoutMs / 1000} s`)),
        timeoutMs,
    )
    stream.on('error', () => undefined) // it is thrown below
    let last = 0
    try {
        for await (const { stream: id, type, payload } of readFrames(
            stream.iterator({ destroyOnReturn: false }),
            maxPayload,
        )) {
            if (type !== FRAME_TYPES.request) throw broken(`a frame of type ${type}, expected a request`)
            idle.refresh()
            const refusal = refuse(id, last)
            last = Math.max(last, id)
            const { status, payload: answered } = refusal ?? (await answerTo(payload, answer))
            await send(stream, {
                stream: id,
                type: FRAME_TYPES.response,
                payload: RESPONSE.encode({ status, payload: answered }),
            })
            idle.refresh()
        }
        stream.end() // the other side has ended: it goes when what was written is gone
    } catch (error) {
        stream.destroy()
        throw failed(error)
    } finally {
        clearTimeout(idle)
    }
}

/** A call that comes to nothing. */
export const refused = (code: number, text: string): TtrpcAnswer => ({
    status: { code, message: text },
    payload: Buffer.alloc(0),
})

function refuse(id: number, last: number): TtrpcAnswer | null {
    if (id % 2 === 0) return refused(CODES.invalidArgument, 'StreamID must be odd for client initiated streams')
    return id > last ? null : refused(CODES.invalidArgument, 'StreamID cannot be re-used and must increment')
}

async function answerTo(
    payload: Uint8Array,
    answer: (request: TtrpcRequest) => Promise<TtrpcAnswer>,
): Promise<TtrpcAnswer> {
    let request: TtrpcRequest
    try {
        request = REQUEST.parse(payload)
    } catch (error) {
        if (errnoOf(error) !== 'ERR_ENCODING') throw error
        return refused(CODES.invalidArgument, messageOf(error))
    }
    return answer(request)
}

function readAnswer({ stream, type, payload }: Frame, id: number): TtrpcAnswer {
    if (type !== FRAME_TYPES.response) throw broken(`a frame of type ${type}, expected a response`)
    if (stream !== id) throw broken(`an answer to the call ${stream}, expected one to ${id}`)
    const answer = RESPONSE.parse(payload)
    return answer.status?.code === 0 ? { ...answer, status: null } : answer
}

/** Ends when the stream has taken it: whoever does not read is not written to for ever. */
function send(stream: Duplex, frame: Frame): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const closed = () => reject(stream.errored ?? broken('the other side has hung up'))
    stream.once('close', closed)
    stream.write(encodeFrame(frame), (error) => (error ? reject(failed(error)) : resolve()))
    return promise.finally(() => stream.off('close', closed))
}

/** What Node says of a stream that is over is the other side's doing: it has hung up. */
const failed = (error: unknown): unknown =>
    errnoOf(error)?.startsWith('ERR_STREAM_') ? broken('the other side has hung up') : error

const broken = (text: string) => coreError('ERR_TTRPC', `ttrpc: ${text}`)
