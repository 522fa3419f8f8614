// What both listeners have in common: the one strict JSON parser, shapes checked by the schemas that the documentation is
// made from, refusals in one form, limits against slow and large peers, and the time that each request took.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import swagger from '@fastify/swagger'
import fastify, {
    type FastifyInstance,
    type FastifyReply,
    type FastifyRequest,
    type FastifyServerOptions,
} from 'fastify'
import { jsonSchemaTransform, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { messageOf } from '#core/errors.ts'
import { parseJson, stringifyJson } from '#core/json.ts'
import { issues, type Schema } from '#core/schema.ts'
import { kbsError } from '#kbs/errors.ts'
import { MAX_ATTESTATION_BYTES } from '#kbs/messages.ts'
import type { Broker } from '../broker.ts'
import type { Bodies } from './bodies.ts'
import { limitRequests } from './limits.ts'
import { type Problem, problem, problemBody, problemOf } from './problems.ts'

export type App = FastifyInstance

/** The same app, with the types of the schemas. */
export const typed = (app: App) => app.withTypeProvider<ZodTypeProvider>()

export interface AppOptions {
    readonly title: string
    readonly description: string
    readonly options?: FastifyServerOptions
    readonly bodies: Bodies
    /** From one address; without a bound unless given. */
    readonly ratePerMinute?: number
    /** How errors are told; as to a guest unless given. */
    readonly tell?: (error: unknown) => Problem
    /** Called with each refusal before it is sent. */
    readonly refused?: (request: FastifyRequest, code: string, detail: string) => void
}

/** Bodies of JSON but for `/attest` are small. */
const SMALL_BODY = 64 * 1024

/** Evidence with an event log nests no deeper. */
const MAX_DEPTH = 32

export async function createApp(
    broker: Broker,
    { title, description, options, bodies, ratePerMinute, tell = problemOf, refused }: AppOptions,
): Promise<App> {
    const app: App = fastify({
        ...options,
        bodyLimit: SMALL_BODY,
        // A HEAD would use up a release and deliver nothing.
        exposeHeadRoutes: false,
        genReqId: correlations(),
        requestIdHeader: false,
        routerOptions: { maxParamLength: 256 },
        return503OnClosing: true,
        frameworkErrors: (error, request, reply) => {
            void (reply as FastifyReply).status(400).send(problemBody(problem(400, error.message), request.id))
        },
    })

    app.removeAllContentTypeParsers()
    app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) =>
        parseJson(await bodies.read(request, payload), {
            title: 'body',
            maxBytes: MAX_ATTESTATION_BYTES,
            maxDepth: MAX_DEPTH,
        }),
    )
    app.setValidatorCompiler<Schema<unknown>>(({ schema, httpPart }) => (data: unknown) => {
        const result = schema.safeParse(data)
        if (result.success) return { value: result.data }
        return { error: kbsError('ERR_KBS_MESSAGE', `${httpPart ?? 'request'}: ${issues(result.error)}`) }
    })
    app.setSerializerCompiler(() => (value) => stringifyJson(value))

    app.setErrorHandler((error, request, reply) => {
        const answer = tell(error)
        if (answer.status >= 500)
            broker.log.error('a request failed', {
                route: request.routeOptions.url ?? request.url,
                correlation: request.id,
                reason: messageOf(error),
                ...(answer.status === 500 && error instanceof Error ? { stack: error.stack } : {}),
            })
        refused?.(request, answer.code, answer.detail)
        if (answer.retryAfterS !== undefined && !reply.hasHeader('retry-after'))
            void reply.header('retry-after', answer.retryAfterS)
        void reply.status(answer.status).send(problemBody(answer, request.id))
    })
    if (ratePerMinute !== undefined) await limitRequests(app, ratePerMinute)
    const limited = ratePerMinute === undefined ? {} : { preHandler: app.rateLimit() }
    app.setNotFoundHandler(limited, (request, reply) => {
        const answer = problem(404, `there is no ${request.method} ${request.url.split('?')[0]} here`)
        refused?.(request, answer.code, answer.detail)
        void reply.status(404).send(problemBody(answer, request.id))
    })

    app.addHook('onSend', (_request, reply, payload, done) => {
        void reply.header('cache-control', 'no-store')
        done(null, payload)
    })
    app.addHook('onResponse', (request, reply, done) => {
        broker.metrics.observe(`${request.method} ${request.routeOptions.url ?? 'other'}`, reply.elapsedTime / 1000)
        done()
    })

    await app.register(swagger, {
        openapi: { openapi: '3.1.0', info: { title, description, version: '1' } },
        transform: jsonSchemaTransform,
    })
    app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
    app.get('/healthz', { schema: { summary: 'Is the broker able to record a release?' } }, async (_request, reply) => {
        const healthy = !broker.data.ledger.failing
        return reply.status(healthy ? 200 : 503).send({ status: healthy ? 'ok' : 'the database cannot be written' })
    })
    return app
}

/** Sixteen hex digits: eight for this process, eight that count. They name a request in the answer and in the logs. */
function correlations(): () => string {
    const process = randomBytes(4).toString('hex')
    let count = 0
    return () => `${process}${(count++ % 2 ** 32).toString(16).padStart(8, '0')}`
}

/** The counters, with what is counted at this moment. */
export const metricsText = ({ metrics, sessions, data }: Broker): string =>
    metrics.text({
        sessions: sessions.size,
        auditSeq: data.ledger.head?.seq ?? 0,
        resources: data.state.resources.size,
    })
