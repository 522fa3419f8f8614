// The keys of a broker, each in a file of its own that only the broker may read:
//   master.key  32 random bytes: what wraps the data keys of resources is derived from it
//   audit.key   Ed25519: signs the head of the audit log
//   token.key   P-256: signs attestation tokens
//   server.key  P-256: the listener's; its digest is the pin that guests trust
//   ca.key      P-256: vouches for the listener's certificate
// What a key is known by stands in the audit log, so that a key that was lost or exchanged stops the start.
// SPDX-License-Identifier: Apache-2.0

import {
    createHash,
    createPrivateKey,
    createPublicKey,
    createSecretKey,
    generateKeyPairSync,
    hkdfSync,
    type KeyObject,
    randomBytes,
} from 'node:crypto'
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { secret, wantLength, wipe } from '#core/bytes.ts'
import { errnoOf } from '#core/errors.ts'
import { createFile, readTrustedFile } from '#core/files.ts'
import { spkiPin } from '#core/http.ts'
import { brokerError } from './errors.ts'
import type { WrappingKey } from './store/seal.ts'

export type KeyName = 'master' | 'audit' | 'token' | 'server' | 'ca'

export interface KeyFile<T> {
    readonly path: string
    /** What the audit log knows it by: a digest that tells nothing of the key. */
    readonly id: string
    readonly key: T
}

/** Says what a key file is for, when it is minted. */
export const KEY_MEANINGS: Readonly<Record<KeyName, string>> = {
    master: 'encrypts every resource',
    audit: 'signs the audit log',
    token: 'signs attestation tokens',
    server: 'proves the listener to guests, who pin it',
    ca: 'vouches for the certificate of the listener',
}

const MASTER_SIZE = 32

const PEM = { type: 'pkcs8', format: 'pem' } as const
const mintPem: Readonly<Record<Exclude<KeyName, 'master'>, () => KeyObject>> = {
    audit: () => generateKeyPairSync('ed25519').privateKey,
    token: mintP256,
    server: mintP256,
    ca: mintP256,
}

export const keyPath = (folder: string, name: KeyName): string => join(folder, `${name}.key`)

/**
 * From the broker's folder, or from the file that a service manager has unsealed for this start. Null where it does not
 * exist. @throws AttestError ERR_BROKER_KEY, ERR_UNTRUSTED_FILE
 */
export function loadMasterKey(folder: string, credential?: string): KeyFile<WrappingKey> | null {
    const path = credential ?? keyPath(folder, 'master')
    const bytes = credential === undefined ? readKeyFile(path) : readCredential(path)
    if (!bytes) return null
    const master = secret(bytes)
    try {
        wantLength(master, MASTER_SIZE, path)
        const id = createHash('sha256').update('guest-attest master key 1').update(master).digest('hex').slice(0, 16)
        const wrapping = secret(Buffer.from(hkdfSync('sha256', master, '', 'guest-attest resource keys 1', 32)))
        const key = createSecretKey(wrapping)
        wipe(wrapping)
        return { path, id, key: { id, key } }
    } finally {
        wipe(master)
    }
}

/** Null where the file does not exist. @throws AttestError ERR_BROKER_KEY, ERR_UNTRUSTED_FILE */
export function loadKey(path: string): KeyFile<KeyObject> | null {
    const bytes = readKeyFile(path)
    if (!bytes) return null
    try {
        const key = createPrivateKey({ key: bytes, format: 'pem' })
        return { path, id: publicPin(key), key }
    } catch (cause) {
        throw brokerError('ERR_BROKER_KEY', `${path}: not a private key in PEM`, { cause })
    } finally {
        wipe(bytes)
    }
}

/** Makes a key file, which must not exist yet. @throws AttestError ERR_FILE */
export function mintKey(folder: string, name: KeyName): void {
    const path = keyPath(folder, name)
    const bytes = name === 'master' ? randomBytes(MASTER_SIZE) : Buffer.from(mintPem[name]().export(PEM))
    try {
        createFile(path, bytes)
    } finally {
        wipe(bytes)
    }
}

/** The pin of a key pair's public half. */
export const publicPin = (privateKey: KeyObject): string =>
    spkiPin(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }))

/** A file that holds a private key: nobody but its owner may read it. Null where it does not exist. */
export function readKeyFile(path: string): Buffer | null {
    const bytes = readTrustedFile(path)
    if (!bytes) return null
    const mode = modeOf(path)
    if ((mode & 0o077) === 0) return bytes
    wipe(bytes)
    throw brokerError('ERR_BROKER_KEY', `${path} can be read by others (mode ${mode.toString(8).padStart(4, '0')})`, {
        hint: `treat the key as known; if it is not: chmod 600 ${path}`,
    })
}

// systemd gives a service its credentials by an access list, which the mode shows as readable by the group.
function readCredential(path: string): Buffer {
    const bytes = readTrustedFile(path)
    if (bytes && (modeOf(path) & 0o037) === 0) return bytes
    if (bytes) wipe(bytes)
    throw brokerError('ERR_BROKER_KEY', `${path}: ${bytes ? 'can be read by others' : 'there is no such credential'}`)
}

function modeOf(path: string): number {
    try {
        return lstatSync(path).mode & 0o7777
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return 0
        throw cause
    }
}

function mintP256(): KeyObject {
    return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}
