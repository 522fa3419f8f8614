// The pin: seal a passphrase with a key that a broker releases to attested guests, and open it again.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { readInput } from '#core/files.ts'
import { parseOrigin } from '#core/http.ts'
import { parseJson } from '#core/json.ts'
import { encryptDirect, parseDirect } from '#core/jwe.ts'
import { issues } from '#core/schema.ts'
import { keyFault, LUKS_KEY_SIZE, parseResourcePath } from '#kbs/messages.ts'
import type { KeyRequest, Released } from '#unlock/release.ts'
import { clevisError } from './errors.ts'
import { type Binding, formatBinding, jweKey, MAX_SERVERS, parseBinding, SALT_SIZE } from './header.ts'

/** Fetches the key for a use, which throws where it does not open; the caller of the pin supplies it. */
export type Release = <T>(request: KeyRequest, use: (released: Released) => T) => Promise<T>

const CONFIG = z.strictObject({
    url: z.optional(z.string()),
    servers: z.optional(z.array(z.string()).check(z.minLength(1), z.maxLength(MAX_SERVERS))),
    path: z.string(),
    key_file: z.optional(z.string()),
})

/**
 * Seals a plaintext. With `key_file` the resource is read from there, on an owner's machine that is no guest; else it is
 * released to this guest, as it will be at each unlock.
 * @returns a compact JWE
 * @throws AttestError ERR_CLEVIS_*, what the release throws
 */
export async function encrypt(configText: string, plaintext: Uint8Array, release: Release): Promise<string> {
    const { servers, path, keyFile } = parseConfig(configText)
    const sealWith = (resource: Secret, version: number | null) =>
        seal(resource, { servers, path, salt: randomBytes(SALT_SIZE), version }, plaintext)
    if (keyFile === undefined) return release({ servers, path }, ({ key, version }) => sealWith(key, version))
    const resource = readKeyFile(keyFile)
    try {
        return sealWith(resource, null)
    } finally {
        wipe(resource)
    }
}

/** Seals a plaintext with a resource that is at hand. @returns a compact JWE */
export function seal(resource: Secret, binding: Binding, plaintext: Uint8Array): string {
    const key = jweKey(resource, binding)
    try {
        return encryptDirect(key, { clevis: formatBinding(binding) }, plaintext)
    } finally {
        wipe(key)
    }
}

/**
 * Opens what `encrypt` sealed. The caller wipes the plaintext.
 * @throws AttestError ERR_JWE, ERR_CLEVIS_HEADER, what the release throws
 */
export async function decrypt(jwe: string, release: Release): Promise<Secret> {
    const { header, open } = parseDirect(jwe.trim())
    const binding = parseBinding(header)
    const { servers, path, version } = binding
    return release({ servers, path, versions: [version] }, ({ key: resource }) => {
        const key = jweKey(resource, binding)
        try {
            return open(key)
        } finally {
            wipe(key)
        }
    })
}

function parseConfig(text: string) {
    const result = CONFIG.safeParse(parseJson(text, { title: 'the configuration of the pin' }))
    if (!result.success)
        throw clevisError('ERR_CLEVIS_CONFIG', `the configuration of the pin: ${issues(result.error)}`, {
            hint: EXAMPLE,
        })
    const { url, servers, path, key_file: keyFile } = result.data
    const named = servers ?? (url === undefined ? [] : [url])
    if (named.length === 0 || (servers && url !== undefined))
        throw clevisError(
            'ERR_CLEVIS_CONFIG',
            'the configuration of the pin names its broker by "url", or several by "servers"',
            {
                hint: EXAMPLE,
            },
        )
    return {
        servers: named.map((server) => parseOrigin(server, { insecureHttp: true }).origin),
        path: parseResourcePath(path),
        keyFile,
    }
}

const EXAMPLE = `'{"url": "https://kbs.example:8443", "path": "default/luks/web-1"}'`

// Read, never stored: the file is the owner's copy of what `broker put` was given.
function readKeyFile(path: string): Secret {
    const bytes = readInput(path, 4096)
    const fault = keyFault(bytes)
    if (fault === null) return secret(bytes)
    wipe(bytes)
    throw clevisError('ERR_CLEVIS_KEY_FILE', `${path}: ${fault}`, {
        hint: `head -c ${LUKS_KEY_SIZE} /dev/urandom > FILE; guest-attest broker put PATH FILE --kind luks-key`,
    })
}
