// The KBS attestation protocol ("RCAR": request, challenge, attestation, response), version 0.4.0, as its reference
// implementation speaks it: its names and limits, the paths of resources, and what a broker answers.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { kbsError } from './errors.ts'

export const PROTOCOL_VERSION = '0.4.0'

/** The prefix of every route. */
export const KBS_PREFIX = '/kbs/v0'

/** The cookie that names a session. */
export const SESSION_COOKIE = 'kbs-session-id'

/** Random bytes of a challenge; on the wire 44 characters of base64. */
export const NONCE_SIZE = 32

/** Largest body of `/attest`: evidence with certificates and an event log. */
export const MAX_ATTESTATION_BYTES = 4 * 1024 * 1024

/** What opens a disk, as a kind of resource; and as the `?use=` that asks for one and for nothing else. */
export const LUKS_KEY = 'luks-key'

/** Its random bytes. */
export const LUKS_KEY_SIZE = 32

/** The header of an answer in which a broker of ours says which version of a resource it is. */
export const VERSION_HEADER = 'resource-version'

/** A version: decimal, from 1 on; in `?version=` it asks for that one and no other. */
export const RESOURCE_VERSION = /^[1-9]\d{0,8}$/

/** Why these bytes are no disk key, or null. Nobody can see that bytes are random, but 32 typed characters are not. */
export function keyFault(bytes: Buffer): string | null {
    const expected = `expected ${LUKS_KEY_SIZE} random bytes`
    if (bytes.length !== LUKS_KEY_SIZE) return `${expected}, got ${bytes.length} bytes`
    return bytes.every(isTyped) ? `${expected}, got text` : null
}

// Byte by byte: a string of a key could not be wiped.
function isTyped(byte: number): boolean {
    return (byte >= 0x20 && byte <= 0x7e) || byte === 0x09 || byte === 0x0a || byte === 0x0d
}

export const Challenge = z.object({
    nonce: z.string().check(z.maxLength(1024)),
    'extra-params': z.unknown(),
})

export const AttestationResponse = z.object({ token: z.string() })

export const JweResponse = z.object({
    protected: z.string(),
    header: z.optional(z.record(z.string(), z.unknown())),
    encrypted_key: z.string(),
    iv: z.string(),
    ciphertext: z.string(),
    tag: z.string(),
})

/** What a broker answers when it refuses; a broker of ours adds `code` and `correlation`. */
export const ErrorBody = z.object({
    type: z.string(),
    detail: z.string(),
    code: z.optional(z.string()),
    correlation: z.optional(z.string()),
})

/** The prefix of `ErrorBody.type`; a name in camel case follows. */
export const ERROR_TYPE_PREFIX = 'https://github.com/confidential-containers/kbs/errors/'

/** A resource: three names, each of letters, digits, `_` and `-`, and dots after the first character. */
export interface ResourcePath {
    readonly repository: string
    readonly type: string
    readonly tag: string
}

/** What each of the three names is made of, as a regular expression. */
export const SEGMENT = '[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}'
const PATH = new RegExp(`^(${SEGMENT})/(${SEGMENT})/(${SEGMENT})$`)

/** `repository/type/tag`, with or without `kbs:///` before it. @throws AttestError ERR_KBS_URI */
export function parseResourcePath(text: string): ResourcePath {
    const match = PATH.exec(text.replace(/^kbs:\/\/\//, ''))
    if (!match?.[1] || !match[2] || !match[3])
        throw kbsError(
            'ERR_KBS_URI',
            `${JSON.stringify(text)} names no resource: expected REPOSITORY/TYPE/TAG, with kbs:/// before it or without`,
            {
                hint: 'each of the three is made of letters, digits, `_`, `-` and dots, up to 128 of them',
            },
        )
    return { repository: match[1], type: match[2], tag: match[3] }
}

/** `repository/type/tag`. */
export const formatResourcePath = ({ repository, type, tag }: ResourcePath): string => `${repository}/${type}/${tag}`
