// The quoting service of the host over vsock: the way to a quote where the kernel offers none. Its port stands in the
// file of Intel's library, `/etc/tdx-attest.conf`. Nothing of it is trusted: whoever verifies the quote trusts its
// signature.
// SPDX-License-Identifier: Apache-2.0

import type { Duplex } from 'node:stream'
import { errnoOf, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { deadline } from '#core/wait.ts'
import { driverError } from '../errors.ts'
import { encodeQuoteRequest, LENGTH_SIZE, readLength, readQuoteResponse } from './quoting-messages.ts'
import { vsockHint } from './vsock-hint.ts'

/** The host's quoting service (Intel's QGS), reached over vsock. */
export interface QuotingService {
    /** The file that names the port. */
    readonly path: string
    /** Where the service listens; null where no file names a port. @throws AttestError ERR_FILE */
    port(): number | null
    /**
     * The quote of a TDREPORT.
     * @throws AttestError ERR_QUOTE_*, ERR_DEVICE_TIMEOUT, the signal's reason
     */
    quote(tdReport: Uint8Array, signal?: AbortSignal): Promise<Buffer>
}

export interface QuotingServiceOptions {
    readonly path?: string
    readonly timeoutMs?: number
    /** The way to the service. */
    readonly connect?: (port: number, signal: AbortSignal) => Promise<Duplex>
}

const CONFIG_FILE = '/etc/tdx-attest.conf'
const MAX_CONFIG_BYTES = 64 * 1024

/** As long as Linux waits for a quote. */
const TIMEOUT_MS = 30_000

export function quotingService({
    path = CONFIG_FILE,
    timeoutMs = TIMEOUT_MS,
    connect = connectHost,
}: QuotingServiceOptions = {}): QuotingService {
    const port = () => readPort(path)
    return {
        path,
        port,
        async quote(tdReport, parent) {
            const to = port()
            if (to === null) throw driverError('ERR_QUOTE_UNAVAILABLE', `${path} names no port of a quoting service`)
            using signal = deadline(timeoutMs, 'the quoting service', parent)
            try {
                return await exchange(await connected(connect, to, signal), encodeQuoteRequest(tdReport), signal)
            } catch (error) {
                if (!signal.aborted) throw error
                parent?.throwIfAborted()
                throw driverError(
                    'ERR_DEVICE_TIMEOUT',
                    `the quoting service on port ${to} did not answer in ${timeoutMs / 1000} s`,
                    { cause: error, hint: "its log on the host says what it waits for (often the vendor's service)" },
                )
            }
        },
    }
}

/** `port = 4050`, on a line of its own; `#` begins a comment. What is no such line is passed over, as Intel's library does. */
function readPort(path: string): number | null {
    let text: string
    try {
        text = readInput(path, MAX_CONFIG_BYTES).toString('latin1')
    } catch (error) {
        if (errnoOf(error) === 'ERR_NOT_FOUND_FILE') return null
        throw error
    }
    const [, digits] = /^[ \t]*port[ \t]*=[ \t]*(\d{1,10})[ \t\r]*$/m.exec(text) ?? []
    const port = Number(digits)
    return port > 0 && port < 0xffff_ffff ? port : null
}

/** VMADDR_CID_HOST */
const HOST_CID = 2

async function connectHost(port: number, signal: AbortSignal): Promise<Duplex> {
    const { connectVsock } = await import('./vsock.ts')
    return connectVsock({ cid: HOST_CID, port }, signal)
}

async function connected(
    connect: NonNullable<QuotingServiceOptions['connect']>,
    port: number,
    signal: AbortSignal,
): Promise<Duplex> {
    try {
        return await connect(port, signal)
    } catch (cause) {
        signal.throwIfAborted()
        throw driverError('ERR_QUOTE_UNAVAILABLE', `the quoting service on port ${port}: ${messageOf(cause)}`, {
            cause,
            hint: vsockHint(errnoOf(cause), HINTS),
        })
    }
}

const HINTS = {
    noDevice: 'this guest has no vsock device; most clouds give none: configfs-tsm (Linux 6.7) needs none',
    nobody: 'nobody listens there: the host runs no quoting service, or on another port',
}

/** One request, one answer. The stream is destroyed whichever way it ends. */
async function exchange(stream: Duplex, request: Buffer, signal: AbortSignal): Promise<Buffer> {
    const stop = () => void stream.destroy(signal.reason as Error)
    signal.addEventListener('abort', stop, { once: true })
    try {
        if (signal.aborted) throw signal.reason
        stream.write(request)
        return readQuoteResponse(await readAnswer(stream))
    } finally {
        signal.removeEventListener('abort', stop)
        stream.on('error', () => undefined).destroy()
    }
}

// The length is checked before anything is kept; no more is read than it announces.
async function readAnswer(stream: Duplex): Promise<Buffer> {
    let got: Buffer = Buffer.alloc(0)
    let wanted = LENGTH_SIZE
    try {
        for await (const chunk of stream as AsyncIterable<Buffer>) {
            got = Buffer.concat([got, chunk])
            if (wanted === LENGTH_SIZE && got.length >= LENGTH_SIZE) wanted += readLength(got)
            if (wanted > LENGTH_SIZE && got.length >= wanted) return got.subarray(LENGTH_SIZE, wanted)
        }
    } catch (cause) {
        if (errnoOf(cause)?.startsWith('ERR_QUOTE') || stream.errored === null) throw cause
        throw cutOff(got.length, wanted, { cause })
    }
    throw cutOff(got.length, wanted)
}

const cutOff = (got: number, wanted: number, detail: { cause?: unknown } = {}) =>
    driverError(
        'ERR_QUOTE_MESSAGE',
        `the quoting service broke off after ${got} bytes of its answer, ${wanted} were announced`,
        detail,
    )
