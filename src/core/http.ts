// HTTPS requests of the unlock path, over node:http and node:tls: one origin, one connection, the server's key pinned,
// no redirects, no proxy, every answer bounded in size and time. Where there is no network, over whatever is dialled.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { AttestError, coreError, errnoOf, messageOf } from './errors.ts'
import { isNameless, type Origin } from './origin.ts'

export { type Origin, parseOrigin } from './origin.ts'

/** By what the server is known: SHA-256 digests of its public key (SubjectPublicKeyInfo), or the CA that vouches for it. */
export type ServerTrust = { readonly pins: readonly string[] } | { readonly ca: string }

export interface HttpRequest {
    readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
    /** Path and query, from the root of the origin. */
    readonly path: string
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: Uint8Array | string
    /** Largest body that is accepted in answer; 4 MiB unless told. */
    readonly maxBytes?: number
    readonly signal: AbortSignal
}

export interface HttpResponse {
    readonly status: number
    /** Names in lower case; the first value of each but `set-cookie`. */
    readonly headers: Readonly<Record<string, string>>
    readonly cookies: readonly string[]
    readonly body: Buffer
}

/**
 * A connection to one origin; it begins when the session does, and again with a request after it was lost. Requests one
 * after the other share it.
 */
export interface HttpSession {
    readonly origin: string
    /** @throws AttestError ERR_HTTP_CONNECT, ERR_HTTP_TIMEOUT, ERR_HTTP_TLS, ERR_HTTP_RESPONSE, ERR_INTERRUPTED */
    request(request: HttpRequest): Promise<HttpResponse>
    close(): void
}

/** Connects to what is no TCP address: vsock, a unix socket. Ends with the signal's reason. */
export type Dial = (origin: Origin, signal: AbortSignal) => Promise<Duplex>

export interface SessionOptions {
    readonly trust: ServerTrust | null
    /** Needed for such origins alone. */
    readonly dial?: Dial | undefined
    /** Time for the connection and its TLS handshake. */
    readonly connectTimeoutMs?: number
}

const MAX_BODY = 4 * 1024 * 1024
const CONNECT_TIMEOUT_MS = 10_000

/** The pin of a public key, given as DER SubjectPublicKeyInfo: `sha256/` and standard base64, as curl and HPKP write it. */
export const spkiPin = (spki: Uint8Array): string => `sha256/${createHash('sha256').update(spki).digest('base64')}`

export function openSession(origin: Origin, options: SessionOptions): HttpSession {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const closing = new AbortController()
    // Begun at once: the caller has other things to prepare meanwhile. Its failure is that of the first request.
    let begun: Promise<Duplex> | undefined = connect(origin, options, closing.signal)
    begun.catch(() => undefined)
    const connected = async (): Promise<Duplex> => {
        const early = begun
        begun = undefined
        const socket = await early
        // Meanwhile the server may have hung up.
        return socket && !socket.destroyed ? socket : connect(origin, options, closing.signal)
    }
    agent.createConnection = (_, done) => {
        connected().then(
            (socket) => done?.(null, socket),
            (error: Error) => done?.(error, undefined as never),
        )
        return undefined
    }
    return {
        origin: origin.origin,
        request: (request) => send(origin, agent, request),
        close() {
            closing.abort(coreError('ERR_INTERRUPTED', `${origin.origin}: the connection was closed`))
            agent.destroy()
        },
    }
}

async function send(origin: Origin, agent: Agent, request: HttpRequest): Promise<HttpResponse> {
    const { signal, maxBytes = MAX_BODY, body = '' } = request
    const answer = Promise.withResolvers<IncomingMessage>()
    // A request that waits for its connection does not hear of its signal.
    const end = () => answer.reject(signal.reason)
    let broken: unknown
    try {
        signal.throwIfAborted()
        signal.addEventListener('abort', end)
        httpRequest({
            agent,
            method: request.method,
            path: request.path,
            headers: { host: origin.host, 'content-length': Buffer.byteLength(body), ...request.headers },
            signal,
        })
            .on('response', answer.resolve)
            // Without a listener nothing would come of it until the deadline.
            .on('upgrade', (_response, socket) => {
                socket.destroy()
                answer.reject(coreError('ERR_HTTP_RESPONSE', `${origin.origin} answers in another protocol`))
            })
            .on('error', (error) => {
                broken = error // of an answer's body only this says more than that it ended early
                answer.reject(error)
            })
            .end(body)
        const response = await answer.promise
        const status = response.statusCode ?? 0
        if (status >= 300 && status < 400) {
            response.destroy()
            throw coreError(
                'ERR_HTTP_RESPONSE',
                `${origin.origin} redirects (status ${status}): redirects are not followed`,
            )
        }
        return { status, ...readHeaders(response), body: await readBody(response, maxBytes, origin) }
    } catch (error) {
        throw asHttpError(error instanceof AttestError ? error : (broken ?? error), origin, signal)
    } finally {
        signal.removeEventListener('abort', end)
    }
}

async function readBody(response: IncomingMessage, maxBytes: number, origin: Origin): Promise<Buffer> {
    const chunks: Buffer[] = []
    let total = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
        total += chunk.length
        if (total > maxBytes)
            throw coreError('ERR_HTTP_RESPONSE', `${origin.origin} sent more than ${maxBytes} bytes in answer`)
        chunks.push(chunk)
    }
    return Buffer.concat(chunks)
}

function readHeaders(response: IncomingMessage) {
    const headers: Record<string, string> = {}
    for (const [name, values] of Object.entries(response.headersDistinct)) if (values?.[0]) headers[name] = values[0]
    return { headers, cookies: response.headers['set-cookie'] ?? [] }
}

function connect(origin: Origin, options: SessionOptions, closing: AbortSignal): Promise<Duplex> {
    const { trust, dial, connectTimeoutMs = CONNECT_TIMEOUT_MS } = options
    const plain = origin.protocol === 'http:'
    const direct = plain || origin.protocol === 'https:'
    if (!plain && trust === null) throw new TypeError('an https origin needs a pin or a CA')
    if (!direct && !dial) throw new TypeError(`nobody here can dial ${origin.origin}`)
    return new Promise((resolve, reject) => {
        closing.throwIfAborted()
        const over = new AbortController()
        let socket: Socket | undefined
        const fail = (error: Error) => {
            clearTimeout(timer)
            over.abort(error)
            socket?.destroy()
            reject(error)
        }
        // In all, not since the last byte: a handshake that trickles comes to an end too.
        const timer = setTimeout(
            () =>
                fail(
                    coreError(
                        'ERR_HTTP_TIMEOUT',
                        `${origin.origin} did not answer within ${connectTimeoutMs / 1000} s`,
                    ),
                ),
            connectTimeoutMs,
        )
        closing.addEventListener('abort', () => fail(closing.reason as Error))
        const begin = (carrier?: Duplex) => {
            socket = plain ? connectTcp(addressOf(origin, 80)) : startTls(origin, trust as ServerTrust, carrier)
            const begun = socket
            // Stays: a connection that breaks before anything is asked over it is made again, and stops nobody.
            begun.on('error', fail)
            carrier?.on('error', (error) => begun.destroy(error))
            begun.on('close', () => carrier?.destroy())
            begun.once(plain ? 'connect' : 'secureConnect', () => {
                try {
                    if (!plain) checkServer(begun as TLSSocket, trust as ServerTrust, origin)
                } catch (error) {
                    return fail(error as Error)
                }
                clearTimeout(timer)
                resolve(begun)
            })
        }
        if (direct) return begin()
        dial?.(origin, over.signal).then((carrier) => (over.signal.aborted ? carrier.destroy() : begin(carrier)), fail)
    })
}

const addressOf = ({ hostname, port }: Origin, usual: number) => ({
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(port || usual),
})

function startTls(origin: Origin, trust: ServerTrust, carrier?: Duplex): TLSSocket {
    const address = addressOf(origin, 443)
    return connectTls({
        ...(carrier ? { socket: carrier } : address),
        ...(carrier || isIP(address.host) ? {} : { servername: address.host }),
        minVersion: 'TLSv1.3',
        // With a pin the key alone decides: names and dates would only add a clock that the host can set. No CA is needed
        // then, and an empty list spares Node the reading of its own, which takes longer than the handshake.
        ...('ca' in trust ? { ca: trust.ca } : { ca: [], rejectUnauthorized: false }),
    })
}

// Runs when the handshake has proved that the server has the key, and before a byte of ours is sent.
function checkServer(socket: TLSSocket, trust: ServerTrust, origin: Origin): void {
    if ('ca' in trust) {
        if (!socket.authorized) throw coreError('ERR_HTTP_TLS', `${origin.origin}: its certificate is not trusted`)
        return
    }
    const spki = socket.getPeerX509Certificate()?.publicKey.export({ type: 'spki', format: 'der' })
    const got = spki ? spkiPin(spki) : 'no certificate'
    if (!trust.pins.includes(got))
        throw coreError(
            'ERR_HTTP_TLS',
            `${origin.origin} is not the server that is trusted: expected key ${trust.pins.join(' or ')}, got ${got}`,
            {
                hint: 'somebody stands between, or the key was changed: then compare the new pin on a trusted way and run `guest-attest trust add`',
            },
        )
}

const TLS_CODES = /^(?:ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|EPROTO)/

function asHttpError(error: unknown, origin: Origin, signal: AbortSignal): Error {
    if (error instanceof AttestError) return error
    if (signal.aborted)
        return signal.reason instanceof AttestError
            ? signal.reason
            : coreError('ERR_HTTP_TIMEOUT', `${origin.origin} did not answer in time`)
    const code = errnoOf(error) ?? ''
    if (TLS_CODES.test(code))
        return coreError('ERR_HTTP_TLS', `${origin.origin}: ${messageOf(error)}`, { cause: error })
    if (code.startsWith('HPE_'))
        return coreError('ERR_HTTP_RESPONSE', `${origin.origin}: ${messageOf(error)}`, { cause: error })
    return coreError('ERR_HTTP_CONNECT', `${origin.origin}: ${messageOf(error) || code}`, {
        cause: error,
        hint: isNameless(origin) ? 'the log of the relay at the other end says why' : undefined,
    })
}
