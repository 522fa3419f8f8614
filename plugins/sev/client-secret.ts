// What a launch service puts into a guest beside its owner's secrets: a key of this launch, and the only broker that the
// guest trusts with it. JSON, under a GUID of this program's own in the table of secrets:
//   version     1
//   launch      the launch id: 16 bytes, base64url
//   key         32 random bytes, base64url
//   url, pins   the broker: its origin, and SHA-256 of its public key as `sha256/…`
//   allowPaths  what the guest asks it for: REPOSITORY/TYPE/TAG, `*` within a name
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { fromBase64Url, type Secret, secret, toBase64UrlBytes, wipe } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { parseJson } from '#core/json.ts'
import { shape } from '#core/schema.ts'
import { LAUNCH_KEY_GUID } from '#core/secret-names.ts'
import { CLIENT_KEY_SIZE, LAUNCH_ID_SIZE, MAX_SECRET_AREA } from '#core/sizes.ts'
import type { InjectedBroker } from '#drivers/driver.ts'
import type { LaunchClient } from '#evidence/launch.ts'
import { sevError } from './errors.ts'

export const CLIENT_GUID = LAUNCH_KEY_GUID

const VERSION = 1

const CLIENT = z.strictObject({
    version: z.literal(VERSION),
    launch: z.string(),
    key: z.string(),
    url: z.string(),
    pins: z.array(z.string()).check(z.minLength(1), z.maxLength(8)),
    allowPaths: z.array(z.string()).check(z.minLength(1), z.maxLength(16)),
})

/** As the guest has it. */
export interface ClientSecret {
    /** 16 bytes. */
    readonly launchId: Buffer
    /** 32 bytes. Wipe it. */
    readonly key: Secret
    readonly broker: InjectedBroker
}

/** The JSON. Wipe it. */
export function formatClient({ id, key, broker: { url, pins, allowPaths } }: LaunchClient): Secret {
    const text = toBase64UrlBytes(key)
    try {
        const rest = JSON.stringify({ version: VERSION, launch: id, url, pins, allowPaths })
        // The key is never a string here: those cannot be wiped.
        return secret(Buffer.concat([Buffer.from(`${rest.slice(0, -1)},"key":"`), text, Buffer.from('"}')]))
    } finally {
        wipe(text)
    }
}

/** @throws AttestError ERR_SEV_CLIENT */
export function parseClient(bytes: Uint8Array): ClientSecret {
    const title = `the secret ${CLIENT_GUID}`
    try {
        const { launch, key, url, pins, allowPaths } = shape(
            CLIENT,
            parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), {
                title,
                maxBytes: MAX_SECRET_AREA,
                maxDepth: 2,
            }),
            title,
        )
        return {
            launchId: fromBase64Url(launch, 'launch', LAUNCH_ID_SIZE),
            key: secret(fromBase64Url(key, 'key', CLIENT_KEY_SIZE)),
            broker: { url, pins, allowPaths },
        }
    } catch (cause) {
        if (!(cause instanceof AttestError)) throw cause
        throw sevError('ERR_SEV_CLIENT', `${title} is no key of a launch, as a broker makes and injects it`, {
            cause,
            hint: 'its owner registers the guest with `guest-attest broker launch register --broker-url`, and injects nothing under this GUID',
        })
    }
}
