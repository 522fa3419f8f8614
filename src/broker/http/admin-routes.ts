// Administration, over the unix socket alone.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { recognise } from '#evidence/recognise.ts'
import { formatResourcePath, MAX_ATTESTATION_BYTES, parseResourcePath } from '#kbs/messages.ts'
import {
    checkPolicy,
    demand,
    type PutOptions,
    putBytes,
    putPolicy,
    putRandom,
    removePolicy,
    removeResource,
} from '../admin.ts'
import type { Broker } from '../broker.ts'
import { explain } from '../decision/explain.ts'
import { type Policies, type Rule, switchesOf } from '../decision/policies.ts'
import { cedarSchema } from '../decision/schema.ts'
import { countsOf } from '../release.ts'
import { RESOURCE_KINDS } from '../state.ts'
import { addCredentialRoutes } from './credential-routes.ts'
import { addReferenceRoutes } from './reference-routes.ts'
import { BYTES, bytesOf, readBytes } from './secret-bodies.ts'
import { type App, metricsText, typed } from './server.ts'

const number = z.pipe(z.string().check(z.regex(/^\d{1,15}$/, 'expected a number')), z.transform(Number))
const positive = z.pipe(z.string().check(z.regex(/^[1-9]\d{0,8}$/, 'expected a number from 1 on')), z.transform(Number))
const MAKE_QUERY = z.strictObject({ maxReleases: z.optional(positive), replace: z.optional(z.literal('true')) })
const PUT_QUERY = z.extend(MAKE_QUERY, { kind: z.optional(z.enum(RESOURCE_KINDS)) })
const NAMED = z.object({ name: z.string() })
const AT = z.object({ repository: z.string(), type: z.string(), tag: z.string() })
const PAGE = z.strictObject({ after: z.optional(number), limit: z.optional(number) })

/** Records in one answer. */
const MAX_PAGE = 1000

const TEXT = 'text/plain'

const pathOf = ({ repository, type, tag }: z.infer<typeof AT>): string =>
    formatResourcePath(parseResourcePath(`${repository}/${type}/${tag}`))

export async function addAdminRoutes(app: App, broker: Broker): Promise<void> {
    const { data, rules, technologies } = broker
    app.addContentTypeParser(BYTES, readBytes)
    app.addContentTypeParser(TEXT, { parseAs: 'string' }, async (_request: unknown, body: string) => body)
    const admin = typed(app)

    admin.get('/v1/resources', { schema: { summary: 'What is stored; no bytes' } }, async () => [
        ...data.state.resources.values(),
    ])
    admin.put(
        '/v1/resources/:repository/:type/:tag',
        {
            bodyLimit: broker.settings.maxResourceBytes,
            schema: { summary: 'Store the bytes of the body', params: AT, querystring: PUT_QUERY, consumes: [BYTES] },
        },
        async ({ params, query, body }) => {
            const { kind = 'opaque' } = query
            return putBytes(broker, pathOf(params), kind, bytesOf(body), putOptions(query))
        },
    )
    admin.post(
        '/v1/resources/:repository/:type/:tag/random',
        { schema: { summary: 'Make and store a key that nobody has seen', params: AT, querystring: MAKE_QUERY } },
        async ({ params, query }) => putRandom(broker, pathOf(params), putOptions(query)),
    )
    admin.delete(
        '/v1/resources/:repository/:type/:tag',
        { schema: { summary: 'Erase every version', params: AT } },
        async ({ params }, reply) => {
            await removeResource(broker, pathOf(params))
            return reply.status(204).send()
        },
    )

    admin.get(
        '/v1/schema',
        { schema: { summary: 'The vocabulary of the policies, as a Cedar schema' } },
        async (_request, reply) => reply.type(TEXT).serializer(String).send(cedarSchema(technologies)),
    )
    admin.get('/v1/policies', { schema: { summary: 'The policy files and their rules' } }, async () =>
        [...data.state.policies.values()].map(({ name, time }) => ({
            name,
            time,
            rules: rulesOf(rules.policies, name),
        })),
    )
    admin.get(
        '/v1/policies/:name',
        { schema: { summary: 'One policy file', params: NAMED } },
        async ({ params }, reply) => {
            const entry = data.state.policies.get(params.name)
            demand(entry, 'policy', params.name)
            return reply.type(TEXT).serializer(String).send(entry.text)
        },
    )
    admin.put(
        '/v1/policies/:name',
        {
            schema: {
                summary: 'Store a policy file, if all of them are valid then',
                params: NAMED,
                body: z.string(),
                consumes: [TEXT],
            },
        },
        async ({ params: { name }, body }) => rulesOf(await putPolicy(broker, name, body), name),
    )
    admin.post(
        '/v1/policies/:name/check',
        { schema: { summary: 'Would this file be valid?', params: NAMED, body: z.string(), consumes: [TEXT] } },
        async ({ params: { name }, body }) => {
            const compiled = checkPolicy(broker, name, body)
            compiled.close()
            return rulesOf(compiled, name)
        },
    )
    admin.delete(
        '/v1/policies/:name',
        { schema: { summary: 'Take a policy file out of force', params: NAMED } },
        async ({ params }, reply) => {
            await removePolicy(broker, params.name)
            return reply.status(204).send()
        },
    )

    addReferenceRoutes(app, broker)

    admin.post(
        '/v1/explain/:repository/:type/:tag',
        {
            bodyLimit: MAX_ATTESTATION_BYTES,
            schema: { summary: 'Walk through one decision', params: AT, consumes: [BYTES] },
        },
        async ({ params, body }) => {
            const { verifier, evidence, form } = recognise(bytesOf(body), [...broker.verifiers.current.values()])
            const path = pathOf(params)
            const resource = data.state.resources.get(path) ?? null
            const { references, policies } = rules
            const explanation = explain({
                verifier,
                evidence,
                resource,
                references,
                policies,
                target: { path, kind: resource?.kind ?? 'opaque' },
                counts: resource && countsOf(broker, resource),
                switches: switchesOf(technologies),
                now: broker.clock.now(),
            })
            return { form, ...explanation }
        },
    )

    addCredentialRoutes(app, broker)

    admin.get('/v1/audit/head', { schema: { summary: 'The last record, signed' } }, async () => data.ledger.head)
    admin.get('/v1/audit', { schema: { summary: 'Records of the audit log', querystring: PAGE } }, async ({ query }) =>
        data.store.records(query.after ?? 0, Math.min(query.limit ?? MAX_PAGE, MAX_PAGE)),
    )
    admin.get('/metrics', { schema: { summary: 'Counters, in Prometheus’ text format' } }, async (_request, reply) =>
        reply.type('text/plain; version=0.0.4').serializer(String).send(metricsText(broker)),
    )
}

const putOptions = ({ maxReleases, replace }: z.infer<typeof MAKE_QUERY>): PutOptions => ({
    maxReleases: maxReleases ?? null,
    replace: replace !== undefined,
})

const rulesOf = (policies: Policies, file: string) =>
    policies.rules
        .filter((rule: Rule) => rule.file === file)
        .map(({ switches, ...rule }) => ({ ...rule, switches: [...switches] }))
