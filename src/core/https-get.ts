// GET over https for the long-lived side, through undici: vendors' certificate services, never the unlock path (http.ts).
// Certificates of the system or one CA that was named; no redirects, no cookies, no credentials; what comes back is
// bounded in size and in time; what can pass is asked for again.
// SPDX-License-Identifier: Apache-2.0

import type { Agent } from 'undici'
import { AttestError, coreError, errnoOf, messageOf } from './errors.ts'
import { isLoopback } from './loopback.ts'

export interface HttpsOptions {
    /** Trusted instead of the system's, PEM. */
    readonly ca?: string | undefined
    /** Time for one answer, with everything that is tried again; 60 s unless told. */
    readonly timeoutMs?: number
    /** How often it is asked again; 2 unless told. */
    readonly retries?: number
    /** Plain http, to a loopback address only. */
    readonly insecureHttp?: boolean
    /** Ends what is under way. */
    readonly signal?: AbortSignal | undefined
}

export interface HttpsClient {
    /**
     * @returns any status but a redirect
     * @throws AttestError ERR_URL, ERR_HTTP_CONNECT, ERR_HTTP_TIMEOUT, ERR_HTTP_TLS, ERR_HTTP_RESPONSE, ERR_INTERRUPTED
     */
    get(url: string, limits: { readonly maxBytes: number }): Promise<HttpsAnswer>
    close(): Promise<void>
}

export interface HttpsAnswer {
    readonly status: number
    /** Names in lower case; the first value of each. */
    readonly headers: Readonly<Record<string, string>>
    readonly body: Buffer
}

const TIMEOUT_MS = 60_000
const CONNECT_TIMEOUT_MS = 10_000
const MAX_HEADER_BYTES = 64 * 1024

/** Answers after which the same question may find another one. */
const PASSING = [429, 500, 502, 503, 504]

export async function openHttps(options: HttpsOptions = {}): Promise<HttpsClient> {
    const { ca, timeoutMs = TIMEOUT_MS, retries = 2 } = options
    const { Agent, RetryAgent } = await import('undici')
    const agent = new Agent({
        connect: { ...(ca === undefined ? {} : { ca }), timeout: CONNECT_TIMEOUT_MS },
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        maxHeaderSize: MAX_HEADER_BYTES,
        connections: 4,
    })
    const retrying = new RetryAgent(agent, {
        maxRetries: retries,
        minTimeout: 250,
        maxTimeout: 5000,
        methods: ['GET'],
        statusCodes: PASSING,
        throwOnError: false,
    })
    return {
        get: (url, limits) => get(retrying, checkUrl(url, options), limits.maxBytes, timeoutMs, options.signal),
        close: () => agent.destroy(),
    }
}

function checkUrl(text: string, { insecureHttp = false }: HttpsOptions): URL {
    if (!URL.canParse(text)) throw coreError('ERR_URL', `${JSON.stringify(text)} is not an address: expected https://…`)
    const url = new URL(text)
    const isPlain = url.protocol === 'http:' && insecureHttp && isLoopback(url.hostname)
    if (url.protocol !== 'https:' && !isPlain) throw coreError('ERR_URL', `${text}: expected https`)
    if (url.username || url.password) throw coreError('ERR_URL', `${url.host}: no user is expected in an address`)
    return url
}

type Dispatcher = Pick<Agent, 'request'>

async function get(
    agent: Dispatcher,
    url: URL,
    maxBytes: number,
    timeoutMs: number,
    outer: AbortSignal | undefined,
): Promise<HttpsAnswer> {
    const deadline = AbortSignal.timeout(timeoutMs)
    const signal = outer ? AbortSignal.any([outer, deadline]) : deadline
    try {
        const { statusCode, headers, body } = await agent.request({
            origin: url.origin,
            path: `${url.pathname}${url.search}`,
            method: 'GET',
            headers: { accept: '*/*' },
            signal,
        })
        if (statusCode >= 300 && statusCode < 400) {
            body.on('error', () => undefined).destroy() // which it tells as an error of its own
            throw coreError(
                'ERR_HTTP_RESPONSE',
                `${url.origin} redirects (status ${statusCode}): redirects are not followed`,
            )
        }
        return { status: statusCode, headers: firstValues(headers), body: await readBody(body, maxBytes, url) }
    } catch (error) {
        throw asHttpError(error, url, outer?.aborted ?? false, deadline.aborted)
    }
}

async function readBody(body: AsyncIterable<Uint8Array>, maxBytes: number, url: URL): Promise<Buffer> {
    const chunks: Uint8Array[] = []
    let total = 0
    for await (const chunk of body) {
        total += chunk.length
        if (total > maxBytes)
            throw coreError('ERR_HTTP_RESPONSE', `${url.origin} sent more than ${maxBytes} bytes for ${url.pathname}`)
        chunks.push(chunk)
    }
    return Buffer.concat(chunks)
}

function firstValues(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
    const out: Record<string, string> = {}
    for (const [name, value] of Object.entries(headers)) {
        const first = Array.isArray(value) ? value[0] : value
        if (first !== undefined) out[name.toLowerCase()] = first
    }
    return out
}

const TLS_CODES = /^(?:ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|EPROTO)/
const TIMEOUTS = ['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']
const MALFORMED = /^(?:HPE_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_RES_)/

function asHttpError(error: unknown, { origin }: URL, interrupted: boolean, late: boolean): Error {
    if (error instanceof AttestError) return error
    if (interrupted) return coreError('ERR_INTERRUPTED', `${origin}: given up`)
    const code = errnoOf(error) ?? ''
    const detail = { cause: error }
    if (late || TIMEOUTS.includes(code))
        return coreError('ERR_HTTP_TIMEOUT', `${origin} did not answer in time`, detail)
    if (TLS_CODES.test(code))
        return coreError('ERR_HTTP_TLS', `${origin}: ${messageOf(error)}`, {
            ...detail,
            hint: 'a service with a certificate of its own needs its CA: name the file',
        })
    if (MALFORMED.test(code)) return coreError('ERR_HTTP_RESPONSE', `${origin}: ${messageOf(error)}`, detail)
    return coreError('ERR_HTTP_CONNECT', `${origin}: ${messageOf(error) || code}`, detail)
}
