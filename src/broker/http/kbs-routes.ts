// The routes of the key broker protocol 0.4.0, as guests use them: /auth, /attest, /resource.
// SPDX-License-Identifier: Apache-2.0

import type { FastifyReply, FastifyRequest } from 'fastify'
import * as z from 'zod/mini'
import { isLoopback } from '#core/loopback.ts'
import { kbsError } from '#kbs/errors.ts'
import {
    AttestationResponse,
    Challenge,
    ErrorBody,
    formatResourcePath,
    JweResponse,
    KBS_PREFIX,
    LUKS_KEY,
    MAX_ATTESTATION_BYTES,
    parseResourcePath,
    RESOURCE_VERSION,
    SESSION_COOKIE,
    VERSION_HEADER,
} from '#kbs/messages.ts'
import { Attestation, Request } from '#kbs/requests.ts'
import type { Broker } from '../broker.ts'
import { beginHandshake, finishHandshake } from '../handshake.ts'
import { release } from '../release.ts'
import { SESSION_MS, type Challenge as SessionChallenge } from '../sessions.ts'
import type { Bodies } from './bodies.ts'
import { problem, problemBody } from './problems.ts'
import { type App, metricsText, typed } from './server.ts'

declare module 'fastify' {
    interface FastifyRequest {
        /** The challenge that this request has used up. */
        challenge: SessionChallenge | null
        /** True for a request of a guest that has proved itself: its denials are recorded as such. */
        proven: boolean
    }
}

const REFUSALS = {
    400: ErrorBody,
    401: ErrorBody,
    403: ErrorBody,
    404: ErrorBody,
    413: ErrorBody,
    429: ErrorBody,
    500: ErrorBody,
    503: ErrorBody,
}

const HANDSHAKE: ReadonlySet<string | undefined> = new Set([`${KBS_PREFIX}/auth`, `${KBS_PREFIX}/attest`])

const RESOURCE_PARAMS = z.object({ repository: z.string(), type: z.string(), tag: z.string() })
const RESOURCE_QUERY = z.strictObject({
    use: z.optional(z.literal(LUKS_KEY)),
    version: z.optional(
        z.pipe(z.string().check(z.regex(RESOURCE_VERSION, 'expected a number from 1 on')), z.transform(Number)),
    ),
})

export interface KbsRoutesOptions {
    /** Whether the listener speaks TLS, without which a client would not send the cookie back. */
    readonly secure: boolean
    readonly bodies: Bodies
}

export async function addKbsRoutes(app: App, broker: Broker, { secure, bodies }: KbsRoutesOptions): Promise<void> {
    const { settings, metrics } = broker
    app.decorateRequest('challenge', null)
    app.decorateRequest('proven', false)
    // Who has proved nothing and is not about to does not hold a connection.
    app.addHook('onSend', (request, reply, _payload, done) => {
        if (!request.proven && !HANDSHAKE.has(request.routeOptions.url)) void reply.header('connection', 'close')
        done()
    })
    // Each of the protocol's routes has a count of its own, the others have one together.
    const limited = () => ({ rateLimit: { max: settings.ratePerMinute } })
    const setCookie = (reply: FastifyReply, value: string) => {
        const expires = new Date(broker.clock.now().getTime() + SESSION_MS).toUTCString()
        const attributes = `Path=${KBS_PREFIX}; HttpOnly; ${secure ? 'Secure; ' : ''}SameSite=Strict; Max-Age=${SESSION_MS / 1000}; Expires=${expires}`
        void reply.header('set-cookie', `${SESSION_COOKIE}=${value}; ${attributes}`)
    }

    typed(app).post(
        `${KBS_PREFIX}/auth`,
        {
            config: limited(),
            schema: { summary: 'Ask for a challenge', body: Request, response: { 200: Challenge, ...REFUSALS } },
        },
        async (request, reply) => {
            const { cookie, challenge } = beginHandshake(broker, request.body)
            setCookie(reply, cookie)
            return reply.send({ nonce: challenge.nonce, 'extra-params': '' })
        },
    )

    typed(app).post(
        `${KBS_PREFIX}/attest`,
        {
            config: limited(),
            bodyLimit: MAX_ATTESTATION_BYTES,
            schema: { summary: 'Prove', body: Attestation, response: { 200: AttestationResponse, ...REFUSALS } },
            // Before the body is read: one challenge is good for one try, whatever becomes of it.
            preParsing: async (request) => {
                bodies.admit(request)
                request.challenge = broker.sessions.burn(sessionCookie(request), request.ip)
            },
        },
        async (request, reply) => {
            const challenge = request.challenge as SessionChallenge
            const { cookie, token } = finishHandshake(broker, challenge, request.body, request.ip)
            metrics.count('attestations', 'ok')
            setCookie(reply, cookie)
            return reply.send({ token })
        },
    )

    typed(app).get(
        `${KBS_PREFIX}/resource/:repository/:type/:tag`,
        {
            config: limited(),
            schema: {
                summary: 'Ask for a resource',
                params: RESOURCE_PARAMS,
                querystring: RESOURCE_QUERY,
                response: { 200: JweResponse, ...REFUSALS },
            },
        },
        async (request, reply) => {
            if (request.headers.authorization !== undefined)
                throw kbsError(
                    'ERR_KBS_SESSION',
                    `tokens (Authorization) are not accepted: use the session (${SESSION_COOKIE})`,
                )
            const { repository, type, tag } = request.params
            const path = formatResourcePath(parseResourcePath(`${repository}/${type}/${tag}`))
            const session = broker.sessions.use(sessionCookie(request))
            request.proven = true
            const { jwe, version } = await release(broker, session, {
                path,
                use: request.query.use,
                version: request.query.version,
                correlation: request.id,
                peer: request.ip,
            })
            void reply.header(VERSION_HEADER, version)
            // Clients decode and encode again what they received: the order of the members is theirs.
            const { protected: header, encrypted_key, iv, ciphertext, tag: authTag } = jwe
            return reply.send({ protected: header, encrypted_key, iv, ciphertext, tag: authTag })
        },
    )
    app.get(`${KBS_PREFIX}/resource/*`, { schema: { hide: true } }, async () => {
        throw kbsError('ERR_KBS_URI', `expected ${KBS_PREFIX}/resource/REPOSITORY/TYPE/TAG`)
    })

    app.get('/metrics', { schema: { summary: 'Counters, in Prometheus’ text format' } }, async (request, reply) => {
        if (!settings.publicMetrics && !isLoopback(request.ip))
            return reply.status(403).send(problemBody(problem(403, 'metrics are for peers on loopback'), request.id))
        return reply.type('text/plain; version=0.0.4').serializer(String).send(metricsText(broker))
    })
}

/** Counts and logs what was refused to a peer that has proved nothing. */
export function refusedUnproven({ noise, metrics, log }: Broker) {
    return (request: FastifyRequest, code: string, detail: string): void => {
        if (request.proven) return
        const route = request.routeOptions.url ?? 'other'
        if (route === `${KBS_PREFIX}/attest`) metrics.count('attestations', code)
        else metrics.count('refusals', code)
        if (noise.count(code)) log.info('refused', { route, code, detail, peer: request.ip, correlation: request.id })
    }
}

function sessionCookie({ headers }: FastifyRequest): string | undefined {
    return COOKIE.exec(headers.cookie ?? '')?.[1]
}

const COOKIE = new RegExp(`(?:^|;\\s*)${SESSION_COOKIE}=([A-Za-z0-9_-]{1,1024})(?:;|$)`)
