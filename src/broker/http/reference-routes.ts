// Administration of the reference sets, over the unix socket alone.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { fromBase64 } from '#core/bytes.ts'
import { MAX_ATTESTATION_BYTES } from '#kbs/messages.ts'
import { demand, putReference, removeReference } from '../admin.ts'
import type { Broker } from '../broker.ts'
import { COVERAGES } from '../decision/references.ts'
import { referenceFromEventLog, referenceFromEvidence } from '../new-reference.ts'
import { BYTES, bytesOf } from './secret-bodies.ts'
import { type App, typed } from './server.ts'

const NAMED = z.object({ name: z.string() })
const FROM_EVIDENCE = z.strictObject({
    name: z.string(),
    coverage: z.enum(Object.keys(COVERAGES) as (keyof typeof COVERAGES)[]),
})
const FROM_EVENT_LOG = z.extend(FROM_EVIDENCE, {
    eventLog: z.string(),
    evidence: z.optional(z.string()),
    measurement: z.optional(z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/, 'expected lower-case hex'))),
})

/** A log as it lies in the memory of the firmware (1 MiB, mostly empty), and evidence, in base64. */
const MAX_LOG_BODY = MAX_ATTESTATION_BYTES

const TEXT = 'text/plain'

export function addReferenceRoutes(app: App, broker: Broker): void {
    const admin = typed(app)
    admin.get('/v1/references', { schema: { summary: 'The reference sets' } }, async () =>
        broker.rules.references.map((reference) => {
            if ('broken' in reference) return reference
            const { policy: _policy, ...rest } = reference
            return rest
        }),
    )
    admin.get(
        '/v1/references/:name',
        { schema: { summary: 'One reference set', params: NAMED } },
        async ({ params }, reply) => {
            const entry = broker.data.state.references.get(params.name)
            demand(entry, 'reference set', params.name)
            return reply.type(TEXT).serializer(String).send(entry.text)
        },
    )
    admin.post(
        '/v1/references',
        { schema: { summary: 'Store a reference set', body: z.string(), consumes: [TEXT] } },
        async ({ body }) => ({ name: await putReference(broker, body) }),
    )
    admin.post(
        '/v1/references/from-evidence',
        {
            bodyLimit: MAX_ATTESTATION_BYTES,
            schema: {
                summary: 'Store a reference set made from evidence',
                querystring: FROM_EVIDENCE,
                consumes: [BYTES],
            },
        },
        async ({ query: { name, coverage }, body }, reply) => {
            const text = referenceFromEvidence(broker, name, coverage, bytesOf(body))
            await putReference(broker, text)
            return reply.type(TEXT).serializer(String).send(text)
        },
    )
    admin.post(
        '/v1/references/from-eventlog',
        {
            bodyLimit: MAX_LOG_BODY,
            schema: { summary: 'Store a reference set made from the log of a boot', body: FROM_EVENT_LOG },
        },
        async ({ body: { name, coverage, eventLog, evidence, measurement } }, reply) => {
            const text = referenceFromEventLog(broker, name, coverage, {
                eventLog: fromBase64(eventLog, 'eventLog'),
                evidence: evidence === undefined ? null : fromBase64(evidence, 'evidence'),
                measurement: measurement ?? null,
            })
            await putReference(broker, text)
            return reply.type(TEXT).serializer(String).send(text)
        },
    )
    admin.delete(
        '/v1/references/:name',
        { schema: { summary: 'Forget a reference set', params: NAMED } },
        async ({ params }, reply) => {
            await removeReference(broker, params.name)
            return reply.status(204).send()
        },
    )
}
