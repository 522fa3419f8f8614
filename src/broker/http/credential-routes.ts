// Administration of the credentials for enrolling disks, over the unix socket alone. Their secrets never come here.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { CREDENTIAL_ACTIONS } from '#kbs/credential.ts'
import type { Broker } from '../broker.ts'
import { addCredential, removeCredential } from '../credentials.ts'
import { type App, typed } from './server.ts'

const NAMED = z.object({ name: z.string() })

const NEW = z.strictObject({
    hash: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
    allowPaths: z.array(z.string()).check(z.minLength(1), z.maxLength(64)),
    may: z.array(z.enum(CREDENTIAL_ACTIONS)).check(z.minLength(1), z.maxLength(CREDENTIAL_ACTIONS.length)),
    expires: z.string(),
    maxUses: z.int().check(z.minimum(1), z.maximum(1_000_000)),
})

export function addCredentialRoutes(app: App, broker: Broker): void {
    const admin = typed(app)
    admin.get('/v1/credentials', { schema: { summary: 'The credentials for enrolling; no secrets' } }, async () =>
        [...broker.data.state.credentials.values()].map(({ hash: _hash, ...rest }) => rest),
    )
    admin.put(
        '/v1/credentials/:name',
        { schema: { summary: 'Accept a credential whose secret has this hash', params: NAMED, body: NEW } },
        async ({ params: { name }, body }) => {
            const { hash: _hash, ...entry } = await addCredential(broker, { name, ...body })
            return entry
        },
    )
    admin.delete(
        '/v1/credentials/:name',
        { schema: { summary: 'Accept it no more', params: NAMED } },
        async ({ params }, reply) => {
            await removeCredential(broker, params.name)
            return reply.status(204).send()
        },
    )
}
