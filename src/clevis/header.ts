// What the pin stores in the protected header of its JWE: everything that is needed to unlock, and nothing that is
// trusted, because the host can write it. The header is authenticated only by the key that it helps to find.
//   {"alg":"dir","enc":"A256GCM","clevis":{"pin":"kbs","kbs":{"v":1,"servers":[URL…],"path":"R/T/T","salt":BASE64URL}}}
// SPDX-License-Identifier: Apache-2.0

import { hkdfSync } from 'node:crypto'
import * as z from 'zod/mini'
import { fromBase64Url, type Secret, secret, toBase64Url } from '#core/bytes.ts'
import { parseOrigin } from '#core/http.ts'
import { issues } from '#core/schema.ts'
import { formatResourcePath, parseResourcePath, type ResourcePath } from '#kbs/messages.ts'
import { clevisError } from './errors.ts'

export const PIN_NAME = 'kbs'

export interface Binding {
    /** Origins of brokers, in the order in which they are tried. */
    readonly servers: readonly string[]
    readonly path: ResourcePath
    readonly salt: Buffer
    /** The version of the resource that opens it; null where the broker counts none, or the key came from a file. */
    readonly version: number | null
}

export const MAX_SERVERS = 8
export const SALT_SIZE = 32

const VERSION = 1

const SERVERS = z.array(z.string()).check(z.minLength(1), z.maxLength(MAX_SERVERS))

const CLEVIS_MEMBER = z.strictObject({
    pin: z.literal(PIN_NAME),
    [PIN_NAME]: z.strictObject({
        v: z.literal(VERSION),
        servers: SERVERS,
        path: z.string(),
        version: z.optional(z.int().check(z.gte(1))),
        salt: z.string(),
    }),
})

/** The member `clevis` of the protected header. */
export const formatBinding = ({ servers, path, salt, version }: Binding) => ({
    pin: PIN_NAME,
    [PIN_NAME]: {
        v: VERSION,
        servers,
        path: formatResourcePath(path),
        ...(version === null ? {} : { version }),
        salt: toBase64Url(salt),
    },
})

/** @throws AttestError ERR_CLEVIS_HEADER, ERR_URL, ERR_KBS_URI, ERR_ENCODING, ERR_LENGTH */
export function parseBinding(header: Readonly<Record<string, unknown>>): Binding {
    const { clevis, ...rest } = header
    const unknown = Object.keys(rest).filter((name) => name !== 'alg' && name !== 'enc')
    if (unknown.length > 0)
        throw clevisError('ERR_CLEVIS_HEADER', `unknown members in the JWE header: ${unknown.join(', ')}`)
    const result = CLEVIS_MEMBER.safeParse(clevis)
    if (!result.success) throw clevisError('ERR_CLEVIS_HEADER', `the JWE header: clevis.${issues(result.error)}`)
    const { servers, path, salt, version = null } = result.data[PIN_NAME]
    return {
        servers: servers.map((server) => parseOrigin(server, { insecureHttp: true }).origin),
        path: parseResourcePath(path),
        salt: fromBase64Url(salt, 'clevis.kbs.salt', SALT_SIZE),
        version,
    }
}

const LABEL = 'guest-attest/clevis-kbs/v1'

/**
 * The key of the JWE: HKDF-SHA-256 (RFC 5869) of the resource, with the salt of this binding and its path as context, so
 * that two bindings never share a key, and the resource never leaves the guest as one. The caller wipes it.
 */
export function jweKey(resource: Secret, { salt, path }: Pick<Binding, 'salt' | 'path'>): Secret {
    const info = Buffer.from(`${LABEL}\0${formatResourcePath(path)}`)
    return secret(Buffer.from(hkdfSync('sha256', resource, salt, info, 32)))
}
