// Resources at rest: each version is encrypted with a random key of its own (AES-256-GCM), which is wrapped by a key
// derived from the master key. Name, kind and version are authenticated with both, so that no row passes for another.
// SPDX-License-Identifier: Apache-2.0

import { createHash, type KeyObject, randomBytes } from 'node:crypto'
import { joined, open, parted, seal } from '#core/aead.ts'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { brokerError } from '../errors.ts'
import type { SealedResource } from './store.ts'

/** The key that wraps data keys, and the name of the master key that it was derived from. */
export interface WrappingKey {
    readonly id: string
    readonly key: KeyObject
}

/** What a resource is, beside its bytes. */
export interface ResourceName {
    readonly path: string
    readonly kind: string
    readonly version: number
}

/** Encrypts a version. The caller wipes the plaintext. */
export function sealResource(wrapping: WrappingKey, name: ResourceName, plaintext: Uint8Array): SealedResource {
    const dataKey = secret(randomBytes(32))
    try {
        return {
            path: name.path,
            version: name.version,
            kind: name.kind,
            keyId: wrapping.id,
            wrappedKey: joined(seal(wrapping.key, dataKey, additional('key', wrapping.id, name))),
            sealed: joined(seal(dataKey, plaintext, additional('resource', wrapping.id, name))),
        }
    } finally {
        wipe(dataKey)
    }
}

/** @throws AttestError ERR_BROKER_ROW, ERR_BROKER_KEY */
export function openResource(wrapping: WrappingKey, row: SealedResource): Secret {
    if (row.keyId !== wrapping.id)
        throw brokerError('ERR_BROKER_KEY', `${row.path} is sealed by master key ${row.keyId}, got ${wrapping.id}`)
    let dataKey: Secret | undefined
    try {
        dataKey = open(wrapping.key, parted(row.wrappedKey), additional('key', wrapping.id, row))
        return open(dataKey, parted(row.sealed), additional('resource', wrapping.id, row))
    } catch (cause) {
        throw brokerError(
            'ERR_BROKER_ROW',
            `${row.path}: version ${row.version} does not decrypt: its row was altered`,
            {
                cause,
            },
        )
    } finally {
        wipe(dataKey)
    }
}

/** The row that the audit log recorded, opened. @throws AttestError ERR_BROKER_ROW, ERR_BROKER_KEY */
export function openRecorded(
    wrapping: WrappingKey,
    { path, version, digest }: Omit<ResourceName, 'kind'> & { readonly digest: string },
    row: SealedResource | null,
): Secret {
    if (row && digestResource(row) === digest) return openResource(wrapping, row)
    throw brokerError('ERR_BROKER_ROW', `${path}: version ${version} is not the row that the audit log recorded`)
}

/** What the audit log says of a row: SHA-256 over everything in it. */
export function digestResource({ path, version, kind, keyId, wrappedKey, sealed }: SealedResource): string {
    const names = JSON.stringify([path, version, kind, keyId, wrappedKey.length, sealed.length])
    return createHash('sha256').update(names).update(wrappedKey).update(sealed).digest('hex')
}

const additional = (what: 'key' | 'resource', keyId: string, { path, kind, version }: ResourceName): Buffer =>
    Buffer.from(JSON.stringify([`guest-attest ${what} 1`, keyId, path, kind, version]))
