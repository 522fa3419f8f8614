// What a guest sends to a broker (messages.ts has the protocol). A file of its own: a guest that only asks never reads it.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import type { EcJwk } from '#core/jwe.ts'

export const Request = z.object({
    version: z.string().check(z.maxLength(32)),
    tee: z.string().check(z.maxLength(64)),
    'extra-params': z.unknown(),
})

const coordinate = z.string().check(z.regex(/^[A-Za-z0-9_-]{43}$/))

// Strict: the peer serialises exactly these members again before it hashes them.
export const TeePubkey: z.ZodMiniType<EcJwk> = z.strictObject({
    kty: z.literal('EC'),
    crv: z.literal('P-256'),
    alg: z.literal('ECDH-ES+A256KW'),
    x: coordinate,
    y: coordinate,
})

export const Attestation = z.strictObject({
    'init-data': z.optional(z.nullable(z.strictObject({ format: z.string(), body: z.string() }))),
    'runtime-data': z.strictObject({ nonce: z.string(), 'tee-pubkey': TeePubkey }),
    'tee-evidence': z.strictObject({ primary_evidence: z.unknown(), additional_evidence: z.string() }),
})
