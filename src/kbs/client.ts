// The guest's side of the KBS attestation protocol ("RCAR") 0.4.0: one handshake, then resources, over one connection.
// The key pair that resources are encrypted to is made here for each handshake and never leaves this file.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import type { Secret } from '#core/bytes.ts'
import { fromBase64 } from '#core/bytes.ts'
import { messageOf } from '#core/errors.ts'
import {
    type Dial,
    type HttpResponse,
    type HttpSession,
    type Origin,
    openSession,
    type ServerTrust,
} from '#core/http.ts'
import { parseJson, stringifyJson } from '#core/json.ts'
import { decryptWith, ecJwk } from '#core/jwe.ts'
import type { Logger } from '#core/log.ts'
import { type Schema, shape } from '#core/schema.ts'
import { deadline } from '#core/wait.ts'
import type { Guest } from '#drivers/driver.ts'
import { runtimeDigest } from '#evidence/binding.ts'
import type { KbsEvidence } from '#evidence/verifier.ts'
import { kbsError } from './errors.ts'
import {
    AttestationResponse,
    Challenge,
    ERROR_TYPE_PREFIX,
    ErrorBody,
    formatResourcePath,
    JweResponse,
    KBS_PREFIX,
    MAX_ATTESTATION_BYTES,
    NONCE_SIZE,
    PROTOCOL_VERSION,
    RESOURCE_VERSION,
    type ResourcePath,
    SESSION_COOKIE,
    VERSION_HEADER,
} from './messages.ts'

/** Who attests: the guest, its name in the protocol, and its evidence's form. Whoever opened it closes it. */
export interface Attester extends Disposable {
    readonly guest: Guest
    readonly kbsName: string
    readonly form: KbsEvidence
    /** Whether the event log is sent too, where the guest has one: a broker judges its claims. */
    readonly eventLog: boolean
}

export interface Broker {
    readonly origin: Origin
    /** Null for plain http on loopback alone. */
    readonly trust: ServerTrust | null
}

export interface ClientOptions {
    readonly log: Logger
    readonly signal: AbortSignal
    /** For one request; the wait for the device is not part of it. */
    readonly requestTimeoutMs: number
    /** The way to a broker that is on no network (vsock, a unix socket). */
    readonly dial?: Dial | undefined
}

/** A session of an attested guest. Close it: it holds the connection and the private key. */
export interface AttestedSession extends Disposable {
    /** @throws AttestError ERR_KBS_* */
    resource(path: ResourcePath, wanted?: Wanted): Promise<Resource>
}

export interface Wanted {
    /** A resource of this kind alone. */
    readonly use?: string | undefined
    /** This version alone; the current one, whichever that is, unless told. */
    readonly version?: number | undefined
}

export interface Resource {
    /** The caller wipes them. */
    readonly bytes: Secret
    /** Null where the broker counts none. */
    readonly version: number | null
}

/** How far the guest's clock may be from the broker's before that is worth a line. */
const CLOCK_SKEW_MS = 5 * 60_000

const MAX_SMALL_ANSWER = 64 * 1024

/**
 * Attests this guest to a broker: request, challenge, attestation.
 * @throws AttestError ERR_KBS_*, ERR_HTTP_*, what the driver says
 */
export async function attest(
    broker: Broker,
    attesting: Attester | Promise<Attester>,
    options: ClientOptions,
): Promise<AttestedSession> {
    // The connection is made while the guest's device is opened.
    const http = openSession(broker.origin, { trust: broker.trust, dial: options.dial })
    try {
        const attester = await attesting
        const send = sender(http, options)
        const { answer: challenge, cookie } = await request(send, attester.kbsName, options.log)
        const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
        const attested = await prove(send, attester, challenge.nonce, keys.publicKey, cookie, options)
        return {
            resource: (path, wanted = {}) => resource(send, keys.privateKey, attested ?? cookie, path, wanted),
            [Symbol.dispose]: () => http.close(),
        }
    } catch (error) {
        http.close()
        throw error
    }
}

type Send = (message: Message) => Promise<HttpResponse>

interface Message {
    readonly method: 'GET' | 'POST'
    readonly path: string
    readonly cookie?: string
    readonly body?: string
    readonly maxBytes?: number
}

const sender =
    (http: HttpSession, { requestTimeoutMs, signal: parent }: ClientOptions): Send =>
    async ({ method, path, cookie, body, maxBytes = MAX_SMALL_ANSWER }) => {
        using signal = deadline(requestTimeoutMs, `${http.origin}${KBS_PREFIX}${path}`, parent)
        return await http.request({
            // awaited here: the deadline ends with this block
            method,
            path: `${KBS_PREFIX}${path}`,
            headers: {
                accept: 'application/json',
                ...(body === undefined ? {} : { 'content-type': 'application/json' }),
                ...(cookie === undefined ? {} : { cookie: `${SESSION_COOKIE}=${cookie}` }),
            },
            ...(body === undefined ? {} : { body }),
            maxBytes,
            signal,
        })
    }

async function request(send: Send, tee: string, log: Logger) {
    const body = JSON.stringify({ version: PROTOCOL_VERSION, tee, 'extra-params': '' })
    const response = await send({ method: 'POST', path: '/auth', body })
    warnOfClock(response, log)
    const answer = read(response, Challenge, 'challenge')
    fromBase64(answer.nonce, 'the nonce of the challenge', NONCE_SIZE)
    const cookie = sessionCookie(response)
    if (cookie === undefined)
        throw kbsError('ERR_KBS_MESSAGE', `the challenge came without its ${SESSION_COOKIE} cookie`)
    return { answer, cookie }
}

// The evidence binds the nonce and the public key of this handshake (src/evidence/binding.ts).
async function prove(
    send: Send,
    { guest, form, eventLog }: Attester,
    nonce: string,
    publicKey: KeyObject,
    cookie: string,
    { signal }: ClientOptions,
): Promise<string | undefined> {
    if (!guest.evidence) throw new TypeError(`a guest of ${guest.tee} cannot attest`)
    const teePubkey = ecJwk(publicKey)
    const binding = runtimeDigest({ nonce, teePubkey, additionalEvidence: '' })
    const evidence = await guest.evidence(binding, { signal, eventLog })
    const body = stringifyJson({
        'init-data': null,
        'runtime-data': { nonce, 'tee-pubkey': teePubkey },
        'tee-evidence': { primary_evidence: form.toKbs(evidence), additional_evidence: '' },
    })
    if (Buffer.byteLength(body) > MAX_ATTESTATION_BYTES)
        throw kbsError(
            'ERR_KBS_MESSAGE',
            `the evidence has more than the ${MAX_ATTESTATION_BYTES} bytes that a broker takes`,
        )
    const response = await send({ method: 'POST', path: '/attest', cookie, body, maxBytes: MAX_ATTESTATION_BYTES })
    read(response, AttestationResponse, 'answer to the attestation')
    return sessionCookie(response)
}

async function resource(
    send: Send,
    key: KeyObject,
    cookie: string,
    path: ResourcePath,
    { use, version: wanted }: Wanted,
): Promise<Resource> {
    const query = new URLSearchParams({
        ...(use === undefined ? {} : { use }),
        ...(wanted === undefined ? {} : { version: String(wanted) }),
    }).toString()
    const response = await send({
        method: 'GET',
        path: `/resource/${formatResourcePath(path)}${query === '' ? '' : `?${query}`}`,
        cookie,
        maxBytes: MAX_ATTESTATION_BYTES,
    })
    const jwe = read(response, JweResponse, 'resource')
    const version = versionOf(response)
    // A broker that does not count would release a key that was replaced long ago.
    if (wanted !== undefined && version !== wanted)
        throw kbsError(
            'ERR_KBS_VERSION_RETIRED',
            `version ${wanted} of ${formatResourcePath(path)} was asked for, the broker answers with ${version ?? 'none'}`,
            { hint: RETIRED },
        )
    return { bytes: decryptWith(key, jwe), version }
}

function versionOf({ headers }: HttpResponse): number | null {
    const text = headers[VERSION_HEADER]
    if (text === undefined) return null
    if (RESOURCE_VERSION.test(text)) return Number(text)
    throw kbsError(
        'ERR_KBS_MESSAGE',
        `the broker's ${VERSION_HEADER} is no number: ${JSON.stringify(text.slice(0, 32))}`,
    )
}

function sessionCookie({ cookies }: HttpResponse): string | undefined {
    for (const cookie of cookies) {
        const value = new RegExp(`^${SESSION_COOKIE}=([^;\\s]{1,2048})`).exec(cookie)?.[1]
        if (value) return value
    }
    return undefined
}

function warnOfClock({ headers }: HttpResponse, log: Logger): void {
    const theirs = Date.parse(headers['date'] ?? '')
    const skew = Math.abs(Date.now() - theirs)
    if (skew > CLOCK_SKEW_MS)
        log.warn(`this guest's clock is ${Math.round(skew / 60_000)} minutes off the broker's (${headers['date']})`)
}

/** What an answer says. @throws AttestError ERR_KBS_* for a refusal, and for what does not fit */
export function read<T>(response: HttpResponse, schema: Schema<T>, title: string): T {
    if (response.status !== 200) throw refusal(response)
    try {
        return shape(schema, parseJson(response.body, { title, maxBytes: MAX_ATTESTATION_BYTES }), title)
    } catch (cause) {
        throw kbsError('ERR_KBS_MESSAGE', `the broker's ${messageOf(cause)}`, { cause })
    }
}

const RETIRED =
    'this header is older than the key: `guest-attest luks rebind` made a new one (or the broker was restored from an older backup)'

type Code = Parameters<typeof kbsError>[0]

/**
 * What a refusal means, by the name in its `type`. Brokers of Trustee's kind answer 401 to everything, so the name comes
 * before the status.
 */
const BY_TYPE: Readonly<Record<string, Code>> = {
    PolicyDeny: 'ERR_KBS_DENIED',
    VersionRetired: 'ERR_KBS_VERSION_RETIRED',
    CredentialDenied: 'ERR_KBS_CREDENTIAL',
    ResourceExists: 'ERR_KBS_EXISTS',
    VersionChanged: 'ERR_KBS_CHANGED',
    AttestationError: 'ERR_KBS_ATTESTATION',
    TokenNotFound: 'ERR_KBS_SESSION',
    TokenVerifierError: 'ERR_KBS_SESSION',
    PluginNotFound: 'ERR_KBS_NOT_FOUND',
    PluginInternalError: 'ERR_KBS_NOT_FOUND',
    InvalidRequestPath: 'ERR_KBS_NOT_FOUND',
}

const BY_STATUS: Readonly<Record<number, Code>> = {
    400: 'ERR_KBS_MESSAGE',
    401: 'ERR_KBS_SESSION',
    403: 'ERR_KBS_DENIED',
    404: 'ERR_KBS_NOT_FOUND',
    413: 'ERR_KBS_MESSAGE',
    429: 'ERR_KBS_BUSY',
    503: 'ERR_KBS_BUSY',
}

/** What the refusal says is the broker's text: quoted, cut, and never more than a reason. */
function refusal({ status, body }: HttpResponse) {
    const said = readRefusal(body)
    const text = said?.detail ? `: ${said.detail.slice(0, 500)}` : ''
    const correlation = said?.correlation ? ` (correlation ${said.correlation.slice(0, 64)})` : ''
    const name = said?.type.startsWith(ERROR_TYPE_PREFIX) ? said.type.slice(ERROR_TYPE_PREFIX.length) : ''
    // A status that says "later" or "not there" is clearer than any name.
    const byStatus = BY_STATUS[status]
    const code = status === 429 || status === 503 || status === 404 ? byStatus : (BY_TYPE[name] ?? byStatus)
    const version = /version/i.test(said?.detail ?? '') && /mismatch|not supported/i.test(said?.detail ?? '')
    if (version) return kbsError('ERR_KBS_VERSION', `the broker refuses protocol ${PROTOCOL_VERSION}${text}`)
    return kbsError(
        code ?? (status >= 500 ? 'ERR_KBS_SERVER' : 'ERR_KBS_MESSAGE'),
        `the broker answers ${status}${text}${correlation}`,
        code === 'ERR_KBS_VERSION_RETIRED' ? { hint: RETIRED } : {},
    )
}

function readRefusal(body: Buffer) {
    try {
        return shape(ErrorBody, parseJson(body, { title: 'refusal', maxBytes: MAX_SMALL_ANSWER }), 'refusal')
    } catch {
        return null // plain text of a proxy, or nothing: the status has to do
    }
}
