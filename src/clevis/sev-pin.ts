// The pin of SEV: seal a passphrase with a secret that the owner injects at each launch, and open it again. No broker is
// asked: who starts the guest with another secret, or none, does not open it.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { AttestError, messageOf, restated } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { encryptDirect, parseDirect } from '#core/jwe.ts'
import { issues } from '#core/schema.ts'
import { SECRET_ALIASES } from '#core/secret-names.ts'
import { keyFault, LUKS_KEY_SIZE } from '#kbs/messages.ts'
import { SECRET_GUID } from '#unlock/injected.ts'
import { clevisError } from './errors.ts'
import { SALT_SIZE } from './header.ts'
import { formatSevBinding, parseSevBinding, sevJweKey } from './sev-header.ts'

/** Reads an injected secret for a use, wipes its copy, and leaves it in the guest's memory; the caller supplies it. */
export type Injected = <T>(guid: string, use: (injected: Secret) => T) => Promise<T>

const CONFIG = z.strictObject({ guid: SECRET_GUID, key_file: z.optional(z.string()) })

/**
 * Seals a plaintext. With `key_file` the secret is read from there, on the owner's machine; else from this guest.
 * @returns a compact JWE
 * @throws AttestError ERR_CLEVIS_*, what the reading throws
 */
export async function encryptSev(configText: string, plaintext: Uint8Array, injected: Injected): Promise<string> {
    const result = CONFIG.safeParse(parseJson(configText, { title: 'the configuration of the pin' }))
    if (!result.success)
        throw clevisError('ERR_CLEVIS_CONFIG', `the configuration of the pin: ${issues(result.error)}`, {
            hint: `${isNamed(configText) ? 'the secret of that name is the passphrase of a disk itself, and no key: ' : ''}${HINT}, a GUID of your own in lower case`,
        })
    const { guid, key_file: keyFile } = result.data
    const sealWith = (bytes: Secret, from: string): string => {
        checkKey(bytes, from)
        const binding = { guid, salt: randomBytes(SALT_SIZE) }
        const key = sevJweKey(bytes, binding)
        try {
            return encryptDirect(key, { clevis: formatSevBinding(binding) }, plaintext)
        } finally {
            wipe(key)
        }
    }
    if (keyFile === undefined) return here(injected(guid, (bytes) => sealWith(bytes, `the secret ${guid}`)))
    const bytes = secret(readInput(keyFile, 4096))
    try {
        return sealWith(bytes, keyFile)
    } finally {
        wipe(bytes)
    }
}

/**
 * Opens what `encryptSev` sealed. The caller wipes the plaintext.
 * @throws AttestError ERR_JWE, ERR_CLEVIS_HEADER, what the reading throws
 */
export async function decryptSev(jwe: string, injected: Injected): Promise<Secret> {
    const { header, open } = parseDirect(jwe.trim())
    const binding = parseSevBinding(header)
    return injected(binding.guid, (bytes) => {
        checkKey(bytes, `the secret ${binding.guid}`)
        const key = sevJweKey(bytes, binding)
        try {
            return opened(() => open(key), binding.guid)
        } finally {
            wipe(key)
        }
    })
}

const HINT = `'{"guid": "5d7a3f42-…", "key_file": "disk.key"}'`

const isNamed = (configText: string): boolean =>
    Object.keys(SECRET_ALIASES).some((name) => configText.includes(JSON.stringify(name)))

/** On the owner's machine there is nothing to read the secret from. */
async function here<T>(sealing: Promise<T>): Promise<T> {
    try {
        return await sealing
    } catch (error) {
        if (!(error instanceof AttestError) || !/^ERR_(?:SECRETS_|NO_TEE)/.test(error.code)) throw error
        const other = `where this is no guest that was launched with it, name its file: ${HINT}`
        throw restated(error, messageOf(error), error.hint === undefined ? other : `${error.hint}; ${other}`)
    }
}

function opened(open: () => Secret, guid: string): Secret {
    try {
        return open()
    } catch (error) {
        if (!(error instanceof AttestError) || error.code !== 'ERR_JWE') throw error
        throw restated(
            error,
            messageOf(error),
            `the secret ${guid} that was injected is not the one that this was bound with, or the header was changed`,
        )
    }
}

function checkKey(bytes: Secret, from: string): void {
    const fault = keyFault(bytes)
    if (fault === null) return
    throw clevisError('ERR_CLEVIS_KEY_FILE', `${from}: ${fault}`, {
        hint: `head -c ${LUKS_KEY_SIZE} /dev/urandom > FILE; it is injected as GUID:FILE`,
    })
}
