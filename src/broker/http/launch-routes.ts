// The launch service: the owner's half over the unix socket, the host's half on the public listener. The host's routes are
// stable under /v1: members are added, none is renamed or taken away.
// SPDX-License-Identifier: Apache-2.0

import type { Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import * as z from 'zod/mini'
import { UUID } from '#core/guid.ts'
import { parseOrigin } from '#core/http.ts'
import { parseJson } from '#core/json.ts'
import type { LaunchService } from '#evidence/launch.ts'
import { ErrorBody } from '#kbs/messages.ts'
import { PATH_PATTERN } from '#kbs/patterns.ts'
import type { Broker } from '../broker.ts'
import { brokerError } from '../errors.ts'
import { type Host, openVm, validateVm } from '../launch-hosts.ts'
import { LAUNCH_RANGES, MAX_ALLOW_PATHS } from '../launch-limits.ts'
import type { GuestBroker } from '../launch-state.ts'
import { confirmVm, registerVm, removeVm, revokeVm, type VmTerms, viewVm } from '../launches.ts'
import { shares } from '../shares.ts'
import { bodies } from './bodies.ts'
import { type App, typed } from './server.ts'

/** From one address: a launch takes seconds, and its chain costs what verifying costs. */
const RATE_PER_MINUTE = 60

/** A firmware, in base64, and what else there is. */
const MAX_REGISTRATION = 24 * 1024 * 1024

const AT = z.object({
    uuid: z.pipe(
        z.string().check(z.regex(UUID, 'expected a UUID')),
        z.transform((text) => text.toLowerCase()),
    ),
})

const count = (name: keyof typeof LAUNCH_RANGES) =>
    z.int().check(z.minimum(LAUNCH_RANGES[name].least), z.maximum(LAUNCH_RANGES[name].most))

/** What a registration has whatever the technology is. */
const LIMITS = {
    /** SHA-256 of the token that a host shows, hex: whoever has it not learns nothing. */
    'host-token-hash': z.optional(z.string().check(z.regex(/^[0-9a-f]{64}$/))),
    'max-launches': z._default(count('max-launches'), 1),
    'confirm-after': z.optional(count('confirm-after')),
    'max-open': z._default(count('max-open'), 4),
    'launch-seconds': z._default(count('launch-seconds'), 600),
    /** Where the guest finds this broker: then each launch gets a key that it proves itself with, and its host shows a token. */
    'broker-url': z.optional(z.string().check(z.minLength(1), z.maxLength(256))),
    /** What the guest asks it for. */
    'broker-allow-paths': z.optional(
        z
            .array(z.string().check(z.regex(PATH_PATTERN), z.maxLength(384)))
            .check(z.minLength(1), z.maxLength(MAX_ALLOW_PATHS)),
    ),
    /** How long the key of a launch lasts. */
    'client-seconds': z.optional(count('client-seconds')),
}

/** Of the key of a launch, unless told. */
const CLIENT_SECONDS = 30 * 86_400

const ID = z.string().check(z.minLength(1), z.maxLength(64))

const REFUSALS = { 400: ErrorBody, 403: ErrorBody, 413: ErrorBody, 429: ErrorBody, 500: ErrorBody, 503: ErrorBody }

/** For the owner of a guest. */
export async function addOwnerRoutes(app: App, broker: Broker, service: LaunchService): Promise<void> {
    const { shapes, scheme } = service
    const Body = z.extend(shapes.registration, { scheme: z.literal(scheme), ...LIMITS })
    await app.register((scope, _options, done) => {
        const read = bodies(shares({ most: Infinity, mostOfOne: Infinity }))
        scope.removeContentTypeParser('application/json')
        scope.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) =>
            parseJson(await read.read(request, payload), { title: 'body', maxBytes: MAX_REGISTRATION }),
        )
        typed(scope as unknown as App).post(
            '/v1/vm/:uuid',
            {
                bodyLimit: MAX_REGISTRATION,
                schema: { summary: 'Register a guest that is proved before it runs', params: AT, body: Body },
            },
            async ({ params: { uuid }, body }) => registerVm(broker, service, uuid, readRegistration(body)),
        )
        done()
    })
    const owner = typed(app)
    owner.get('/v1/vm', { schema: { summary: 'The guests that are registered; no secrets' } }, async () =>
        [...broker.data.state.vms.keys()].map((uuid) => viewVm(broker, uuid)),
    )
    owner.get('/v1/vm/:uuid', { schema: { summary: 'One of them', params: AT } }, async ({ params: { uuid } }) =>
        viewVm(broker, uuid),
    )
    owner.post(
        '/v1/vm/:uuid/confirm',
        { schema: { summary: 'Let one more launch be validated', params: AT } },
        async ({ params: { uuid } }) => confirmVm(broker, uuid),
    )
    owner.post(
        '/v1/vm/:uuid/revoke',
        { schema: { summary: 'End the key of its last launch', params: AT } },
        async ({ params: { uuid } }) => revokeVm(broker, uuid),
    )
    owner.delete(
        '/v1/vm/:uuid',
        { schema: { summary: 'Forget it; what is open ends', params: AT } },
        async ({ params: { uuid } }, reply) => {
            await removeVm(broker, uuid)
            return reply.status(204).send()
        },
    )
}

type Limits = z.infer<z.ZodMiniObject<typeof LIMITS>>

/** What the broker takes of a body that has its shape; the rest is the technology's. @throws AttestError ERR_BROKER_REQUEST, ERR_URL */
function readRegistration(body: unknown): VmTerms {
    const { scheme: _scheme, ...all } = body as Limits & { scheme: string }
    const { 'host-token-hash': hostToken = null, 'confirm-after': confirmAfter = null } = all
    const { 'max-launches': maxLaunches, 'max-open': maxOpen, 'launch-seconds': launchSeconds } = all
    if (confirmAfter !== null && confirmAfter >= maxLaunches)
        throw brokerError(
            'ERR_BROKER_REQUEST',
            `confirm-after ${confirmAfter}: no launch would wait, max-launches is ${maxLaunches}`,
        )
    return {
        limits: { maxLaunches, confirmAfter, maxOpen, launchSeconds },
        hostToken,
        broker: guestBroker(all),
        registration: Object.fromEntries(Object.entries(all).filter(([name]) => !Object.hasOwn(LIMITS, name))),
    }
}

/** @throws AttestError ERR_BROKER_REQUEST, ERR_URL */
function guestBroker(said: Limits): GuestBroker | null {
    const { 'broker-url': url, 'broker-allow-paths': allowPaths, 'client-seconds': seconds } = said
    if (url === undefined && allowPaths === undefined && seconds === undefined) return null
    if (url === undefined || allowPaths === undefined)
        throw brokerError(
            'ERR_BROKER_REQUEST',
            'broker-url and broker-allow-paths: neither is anything without the other, nor client-seconds without both',
        )
    if (said['host-token-hash'] === undefined)
        throw brokerError(
            'ERR_BROKER_REQUEST',
            'broker-url: host-token-hash is missing, and who knows the UUID could launch the guest, and end the key of the one that runs',
        )
    return { url: parseOrigin(url).origin, allowPaths, seconds: seconds ?? CLIENT_SECONDS }
}

/** For the host of a guest: it learns yes or no. */
export function addHostRoutes(app: App, broker: Broker, service: LaunchService): void {
    const { launch, launched, validate, validated } = service.shapes
    const routes = typed(app)
    const config = () => ({ rateLimit: { max: Math.min(RATE_PER_MINUTE, broker.settings.ratePerMinute) } })
    routes.post(
        '/v1/vm/:uuid/launch',
        {
            config: config(),
            schema: {
                summary: 'Ask for a session, with the certificates of the platform',
                params: AT,
                body: launch,
                response: { 200: z.extend(launched, { 'launch-id': ID }), ...REFUSALS },
            },
        },
        async (request, reply) => {
            const { uuid } = request.params
            return reply.send((await openVm(broker, service, uuid, hostOf(request), request.body)) as never)
        },
    )
    routes.post(
        '/v1/vm/:uuid/validate',
        {
            config: config(),
            schema: {
                summary: 'Ask for the secrets, with the measurement; the launch is over then',
                params: AT,
                body: z.extend(validate, { 'launch-id': z.optional(ID) }),
                response: { 200: validated, ...REFUSALS },
            },
        },
        async (request, reply) => {
            const { 'launch-id': id, ...rest } = request.body as { 'launch-id'?: string }
            const { uuid } = request.params
            return reply.send(
                (await validateVm(broker, service, uuid, hostOf(request), { id, request: rest })) as never,
            )
        },
    )
}

const hostOf = ({ headers, ip, id }: Pick<FastifyRequest, 'headers' | 'ip' | 'id'>): Host => ({
    token: /^Bearer ([\x21-\x7e]{1,256})$/.exec(headers.authorization ?? '')?.[1],
    peer: ip,
    correlation: id,
})
