// An administrator's credential for enrolling disks: good for a few paths and actions, for a short time, over the
// broker's TLS listener. Its file is one line, `guest-attest-credential-1:NAME:SECRET`; the secret is 32 random bytes in
// base64url. The broker knows SHA-256 of a label and the secret. It travels in the body of a request, never in a header
// or a URL, which are strings that stay in memory and in logs.
// SPDX-License-Identifier: Apache-2.0

import { createHash, randomBytes } from 'node:crypto'
import { fromBase64UrlBytes, type Secret, secret, toBase64UrlBytes, wipe } from '#core/bytes.ts'
import { kbsError } from './errors.ts'

export const CREDENTIAL_ACTIONS = ['create', 'rotate'] as const

/** `create`: a key where there is none. `rotate`: the next version of a key, and the end of those before. */
export type CredentialAction = (typeof CREDENTIAL_ACTIONS)[number]

export interface Credential {
    readonly name: string
    readonly secret: Secret
}

export const CREDENTIAL_SIZE = 32

const PREFIX = 'guest-attest-credential-1:'
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$/

/** The prefix of the routes that take one. */
export const ENROLL_PREFIX = '/enroll/v1'

export const makeCredential = (name: string): Credential => ({ name, secret: secret(randomBytes(CREDENTIAL_SIZE)) })

/** What a broker stores of it. */
export const credentialHash = (of: Uint8Array): Buffer =>
    createHash('sha256').update('guest-attest credential 1').update(of).digest()

/** The text of its file; the caller wipes it. */
export function formatCredential({ name, secret: bytes }: Credential): Secret {
    const text = toBase64UrlBytes(bytes)
    try {
        return secret(Buffer.concat([Buffer.from(`${PREFIX}${name}:`), text, Buffer.from('\n')]))
    } finally {
        wipe(text)
    }
}

/** The caller wipes its secret. @throws AttestError ERR_KBS_CREDENTIAL_FILE: the text is quoted nowhere */
export function parseCredential(text: Buffer, title: string): Credential {
    const end = text.at(-1) === 0x0a ? text.length - 1 : text.length
    const colon = text.indexOf(':', PREFIX.length)
    const name = text.toString('latin1', PREFIX.length, colon)
    const isOurs = text.subarray(0, PREFIX.length).equals(Buffer.from(PREFIX)) && colon > 0 && NAME.test(name)
    const bytes = isOurs ? fromBase64UrlBytes(text.subarray(colon + 1, end)) : null
    if (bytes?.length === CREDENTIAL_SIZE) return { name, secret: bytes }
    wipe(bytes ?? undefined)
    throw kbsError('ERR_KBS_CREDENTIAL_FILE', `${title}: expected a line ${PREFIX}NAME:SECRET`)
}
