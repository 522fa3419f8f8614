// The routes for enrolling disks, on the listener of the guests: whoever holds a credential makes a key, puts the next
// version of one in its place, or ends those before. No key ever comes back from here: keys go to proven guests alone.
// A body is the credential's secret, and behind it the bytes of the key where there are any.
// SPDX-License-Identifier: Apache-2.0

import type { FastifyRequest } from 'fastify'
import * as z from 'zod/mini'
import { wipe } from '#core/bytes.ts'
import { CREDENTIAL_SIZE, ENROLL_PREFIX } from '#kbs/credential.ts'
import { formatResourcePath, LUKS_KEY_SIZE, parseResourcePath } from '#kbs/messages.ts'
import type { Broker } from '../broker.ts'
import { authenticate, type EnrollRequest, enrollKey, enrollRandom, enrollRetire } from '../credentials.ts'
import { brokerError } from '../errors.ts'
import type { CredentialEntry, ResourceEntry } from '../state.ts'
import { BYTES, bytesOf, readBytes } from './secret-bodies.ts'
import { type App, typed } from './server.ts'

/** From one address: enrolling is rare, and a secret is not guessed. */
const RATE_PER_MINUTE = 60

const AT = z.object({ repository: z.string(), type: z.string(), tag: z.string() })
const NAMED = z.strictObject({ credential: z.string().check(z.maxLength(128)) })
const KEYED = z.extend(NAMED, {
    ifVersion: z.pipe(z.string().check(z.regex(/^\d{1,9}$/, 'expected a number')), z.transform(Number)),
})

export async function addEnrollRoutes(app: App, broker: Broker): Promise<void> {
    await app.register((scope, _options, done) => {
        scope.removeAllContentTypeParsers()
        scope.addContentTypeParser(BYTES, readBytes)
        const routes = typed(scope as unknown as App)
        const config = { rateLimit: { max: Math.min(RATE_PER_MINUTE, broker.settings.ratePerMinute) } }
        const at = `${ENROLL_PREFIX}/resources/:repository/:type/:tag`

        routes.post(
            `${at}/random`,
            {
                config,
                bodyLimit: CREDENTIAL_SIZE,
                schema: {
                    summary: 'Make a key, where there is none',
                    params: AT,
                    querystring: NAMED,
                    consumes: [BYTES],
                },
            },
            async (request) => withCredential(broker, request, 0, ({ by, asked }) => enrollRandom(broker, by, asked)),
        )
        routes.put(
            at,
            {
                config,
                bodyLimit: CREDENTIAL_SIZE + LUKS_KEY_SIZE,
                schema: {
                    summary: 'Store a key, where this version is current; 0: where there is none',
                    params: AT,
                    querystring: KEYED,
                    consumes: [BYTES],
                },
            },
            async (request) =>
                withCredential(broker, request, LUKS_KEY_SIZE, ({ by, asked, key }) =>
                    enrollKey(broker, by, asked, key, request.query.ifVersion),
                ),
        )
        routes.post(
            `${at}/retire`,
            {
                config,
                bodyLimit: CREDENTIAL_SIZE,
                schema: {
                    summary: 'Erase the versions before the current one',
                    params: AT,
                    querystring: NAMED,
                    consumes: [BYTES],
                },
            },
            async (request) => withCredential(broker, request, 0, ({ by, asked }) => enrollRetire(broker, by, asked)),
        )
        done()
    })
}

interface Enrolling {
    readonly by: CredentialEntry
    readonly asked: EnrollRequest
    readonly key: Buffer
}

type Request = Pick<FastifyRequest, 'body' | 'ip' | 'id'> & {
    proven: boolean
    readonly params: z.infer<typeof AT>
    readonly query: z.infer<typeof NAMED>
}

async function withCredential(
    broker: Broker,
    request: Request,
    keySize: number,
    act: (enrolling: Enrolling) => Promise<ResourceEntry>,
): Promise<Pick<ResourceEntry, 'path' | 'version'>> {
    const body = bytesOf(request.body)
    try {
        if (body.length !== CREDENTIAL_SIZE + keySize)
            throw brokerError('ERR_BROKER_REQUEST', `expected ${CREDENTIAL_SIZE + keySize} bytes, got ${body.length}`)
        const by = authenticate(broker, request.query.credential, body.subarray(0, CREDENTIAL_SIZE))
        request.proven = true
        const { repository, type, tag } = request.params
        const path = formatResourcePath(parseResourcePath(`${repository}/${type}/${tag}`))
        const asked = { path, peer: request.ip, correlation: request.id }
        const { version } = await act({ by, asked, key: body.subarray(CREDENTIAL_SIZE) })
        return { path, version }
    } finally {
        wipe(body)
    }
}
