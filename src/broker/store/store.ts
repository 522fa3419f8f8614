// Where a broker keeps what must last: the audit log, from which its whole state follows, and sealed resources.
// Every implementation stands behind this interface; what it returns is not trusted, the audit log proves it.
// SPDX-License-Identifier: Apache-2.0

/** One record of the audit log, as it is stored; audit/record.ts says what its hash covers. */
export interface StoredRecord {
    /** From 1, without gaps. */
    readonly seq: number
    /** ISO 8601, UTC, milliseconds. */
    readonly time: string
    readonly kind: string
    /** What it is about: a resource's path, a policy's name. */
    readonly subject: string
    /** JSON. */
    readonly data: string
    /** The hash of the record before; zeros for the first. SHA-256, hex. */
    readonly prev: string
    readonly hash: string
    /** Ed25519 over the head that this record is, base64url; null inside a batch that was committed together. */
    readonly signature: string | null
}

/** One version of a resource, encrypted. */
export interface SealedResource {
    readonly path: string
    readonly version: number
    readonly kind: string
    /** Which master key wraps the data key. */
    readonly keyId: string
    readonly wrappedKey: Buffer
    readonly sealed: Buffer
}

export type Change =
    | { readonly put: SealedResource }
    | { readonly erase: string }
    /** The versions of a path before this one. */
    | { readonly eraseBefore: number; readonly of: string }

export interface Store {
    /** Records that follow `after`, in their order; at most `limit`. */
    records(after: number, limit?: number): Promise<readonly StoredRecord[]>
    /** All of it or nothing, and durable when it returns. @throws AttestError ERR_BROKER_STORE */
    commit(records: readonly StoredRecord[], changes: readonly Change[]): Promise<void>
    resource(path: string, version: number): Promise<SealedResource | null>
    close(): Promise<void>
}
