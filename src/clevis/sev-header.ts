// What the pin of SEV stores in the protected header of its JWE: which of the injected secrets opens it. The host can
// write it; it is authenticated only by the key that it helps to find.
//   {"alg":"dir","enc":"A256GCM","clevis":{"pin":"sev","sev":{"v":1,"guid":GUID,"salt":BASE64URL}}}
// SPDX-License-Identifier: Apache-2.0

import { hkdfSync } from 'node:crypto'
import * as z from 'zod/mini'
import { fromBase64Url, type Secret, secret, toBase64Url } from '#core/bytes.ts'
import { issues } from '#core/schema.ts'
import { SECRET_GUID } from '#unlock/injected.ts'
import { clevisError } from './errors.ts'
import { SALT_SIZE } from './header.ts'

export const SEV_PIN_NAME = 'sev'

export interface SevBinding {
    /** Of the secret, in lower case. */
    readonly guid: string
    readonly salt: Buffer
}

const VERSION = 1

const CLEVIS_MEMBER = z.strictObject({
    pin: z.literal(SEV_PIN_NAME),
    [SEV_PIN_NAME]: z.strictObject({ v: z.literal(VERSION), guid: SECRET_GUID, salt: z.string() }),
})

/** The member `clevis` of the protected header. */
export const formatSevBinding = ({ guid, salt }: SevBinding) => ({
    pin: SEV_PIN_NAME,
    [SEV_PIN_NAME]: { v: VERSION, guid, salt: toBase64Url(salt) },
})

/** @throws AttestError ERR_CLEVIS_HEADER, ERR_ENCODING, ERR_LENGTH */
export function parseSevBinding(header: Readonly<Record<string, unknown>>): SevBinding {
    const { clevis, ...rest } = header
    const unknown = Object.keys(rest).filter((name) => name !== 'alg' && name !== 'enc')
    if (unknown.length > 0)
        throw clevisError('ERR_CLEVIS_HEADER', `unknown members in the JWE header: ${unknown.join(', ')}`)
    const result = CLEVIS_MEMBER.safeParse(clevis)
    if (!result.success) throw clevisError('ERR_CLEVIS_HEADER', `the JWE header: clevis.${issues(result.error)}`)
    const { guid, salt } = result.data[SEV_PIN_NAME]
    return { guid, salt: fromBase64Url(salt, 'clevis.sev.salt', SALT_SIZE) }
}

const LABEL = 'guest-attest/clevis-sev/v1'

/**
 * The key of the JWE: HKDF-SHA-256 (RFC 5869) of the secret, with the salt of this binding and its GUID as context, so
 * that two bindings never share a key, nor one with a broker's. The caller wipes it.
 */
export const sevJweKey = (injected: Secret, { guid, salt }: SevBinding): Secret =>
    secret(Buffer.from(hkdfSync('sha256', injected, salt, Buffer.from(`${LABEL}\0${guid}`), 32)))
