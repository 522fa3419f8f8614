// What the commands of `sev` read: files as programs write them (raw, or base64 in a text file), keys, secrets.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64, type Secret, secret, wipe } from '#core/bytes.ts'
import { coreError, errnoOf, excerpt, messageOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { GUID_SIZE } from '#core/guid.ts'
import { DISK_GUID, LAUNCH_KEY_BY_HAND, LAUNCH_KEY_GUID, SECRET_ALIASES, secretGuid } from '#core/secret-names.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { many } from '../command.ts'
import { BYTES_FORMS, readBytes } from '../options/bytes.ts'

/** The largest file of certificates, sessions, packets. */
const MAX_BLOB = 256 * 1024

/** A file of bytes; of base64 alone, what that says: QEMU and libvirt take and give no other form. */
export function readBlob(path: string): Buffer {
    const bytes = readInput(path, MAX_BLOB)
    const text = bytes.toString('latin1').replaceAll(/\s/g, '')
    if (bytes.length === 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return bytes
    return Buffer.from(text, 'base64')
}

/** Base64 on the command line. @throws AttestError ERR_USAGE */
export function readBase64(text: string, option: string, length: number): Buffer {
    try {
        return fromBase64(text, option, length)
    } catch (cause) {
        if (errnoOf(cause) !== 'ERR_ENCODING' && errnoOf(cause) !== 'ERR_LENGTH') throw cause
        throw coreError('ERR_USAGE', messageOf(cause), { cause })
    }
}

/** Hex, or any other form of bytes, of one length. @throws AttestError ERR_USAGE */
export function readSized(text: string, option: string, length: number): Buffer {
    const expected = `${option}: expected ${length} bytes (hex, ${BYTES_FORMS})`
    const isHex = /^[0-9a-f]+$/i.test(text)
    if (!isHex && !/^(?:hex:|b64:|@)/.test(text))
        throw coreError('ERR_USAGE', `${expected}, got ${JSON.stringify(excerpt(text))}`)
    const bytes = readBytes(isHex ? `hex:${text}` : text, option)
    if (bytes.length === length) return bytes
    throw coreError('ERR_USAGE', `${expected}, got ${bytes.length}`)
}

export const DIGEST_OPTION = many('a launch digest that is accepted (hex), as `measure sev` prints it; may be repeated')

/** What a secret of `withSecrets` is. */
export const SECRET = 'GUID:FILE, or luks-key:FILE: a secret and what the guest finds it by; may be repeated'

export const KEY_OPTIONS = {
    tk: { type: 'string', describe: 'a file with TEK and TIK, 32 bytes' },
    tek: { type: 'string', describe: 'or one with TEK, 16 bytes …' },
    tik: { type: 'string', describe: '… and one with TIK, 16 bytes' },
} as const

export interface KeyArgs {
    readonly tk?: string | undefined
    readonly tek?: string | undefined
    readonly tik?: string | undefined
}

export interface Keys {
    readonly tek: Secret
    readonly tik: Secret
}

/** Runs with the keys of a session, and wipes them. @throws AttestError ERR_USAGE */
export async function withKeys<T>(args: KeyArgs, use: (keys: Keys) => T | Promise<T>): Promise<T> {
    const keys = readKeys(args)
    try {
        return await use(keys)
    } finally {
        wipe(keys.tek, keys.tik)
    }
}

function readKeys({ tk, tek, tik }: KeyArgs): Keys {
    if (tk !== undefined) {
        if (tek !== undefined || tik !== undefined)
            throw coreError('ERR_USAGE', '--tk stands for both keys: neither --tek nor --tik may be given with it')
        const both = readKey(tk, '--tk', 32)
        try {
            return { tek: secret(both.subarray(0, 16)), tik: secret(both.subarray(16)) }
        } finally {
            wipe(both)
        }
    }
    if (tek === undefined || tik === undefined)
        throw coreError('ERR_USAGE', 'the keys of the session are missing: --tk, or --tek and --tik')
    return { tek: readKey(tek, '--tek', 16), tik: readKey(tik, '--tik', 16) }
}

function readKey(path: string, option: string, size: number): Secret {
    const key = secret(readInput(path, MAX_BLOB))
    if (key.length === size) return key
    wipe(key)
    throw coreError('ERR_USAGE', `${option}: ${path} has ${key.length} bytes, expected ${size}`)
}

export interface NamedSecret {
    readonly guid: string
    readonly data: Secret
}

/** Runs with the secrets of `GUID-OR-ALIAS:FILE`, and wipes them. @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE */
export async function withSecrets<T>(
    specs: readonly string[],
    option: string,
    use: (secrets: readonly NamedSecret[]) => T | Promise<T>,
): Promise<T> {
    const secrets: NamedSecret[] = []
    try {
        for (const spec of specs) {
            const at = spec.indexOf(':')
            const [name, path] = at < 0 ? [spec, ''] : [spec.slice(0, at), spec.slice(at + 1)]
            const guid = secretGuid(name)
            if (path === '' || guid === null)
                throw coreError(
                    'ERR_USAGE',
                    `${option}: expected GUID:FILE, or ${Object.keys(SECRET_ALIASES)}:FILE, got ${JSON.stringify(spec)}`,
                )
            if (guid === LAUNCH_KEY_GUID)
                throw coreError('ERR_USAGE', `${option}: ${LAUNCH_KEY_BY_HAND.message}`, {
                    hint: LAUNCH_KEY_BY_HAND.hint,
                })
            const data = secret(readSecret(path, option, MAX_SECRET_AREA - GUID_SIZE))
            secrets.push({ guid, data })
            // An empty passphrase would open nothing, and nobody would be told. Of another secret that it is there can be all.
            if (data.length === 0 && guid === DISK_GUID) throw coreError('ERR_USAGE', `${option}: ${path} is empty`)
        }
        return await use(secrets)
    } finally {
        wipe(...secrets.map(({ data }) => data))
    }
}

function readSecret(path: string, option: string, maxBytes: number): Buffer {
    try {
        return readInput(path, maxBytes)
    } catch (cause) {
        if (errnoOf(cause) !== 'ERR_LENGTH') throw cause
        throw coreError('ERR_USAGE', `${option}: ${messageOf(cause)}`, { cause })
    }
}

export const CLAIM_OPTIONS = {
    measurement: { type: 'string', describe: 'what the host says was measured: base64 of 48 bytes' },
    'api-major': { type: 'number', describe: 'the API of the host’s firmware, major …' },
    'api-minor': { type: 'number', describe: '… and minor' },
    'build-id': { type: 'number', describe: 'its build' },
    policy: { type: 'number', describe: 'the policy of the launch: that of the session' },
} as const
