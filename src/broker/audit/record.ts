// Records of the audit log, and the chain they make: each holds the hash of the one before, and the last record of each
// batch is signed, so that nobody without the audit key can add, change or take away one.
//
//   hash      = SHA-256 of the JSON text ["guest-attest audit 1", seq, time, kind, subject, data, prev]
//   signature = Ed25519 over "guest-attest audit head 1\n" seq "\n" hash "\n" time "\n"
// SPDX-License-Identifier: Apache-2.0

import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { fromBase64Url, toBase64Url } from '#core/bytes.ts'
import { brokerError } from '../errors.ts'
import type { VmRecordKind } from '../launch-state.ts'
import type { StoredRecord } from '../store/store.ts'

/** What happened: every change of state, every release, the first denials of a proven guest, and counts of the rest. */
export type RecordKind =
    | 'key'
    | 'put'
    | 'rm'
    | 'policy-put'
    | 'policy-rm'
    | 'reference-put'
    | 'reference-rm'
    | 'retire'
    | 'credential-put'
    | 'credential-rm'
    | 'release'
    | 'denial'
    | 'denials'
    | 'noise'
    | VmRecordKind

/** A record that is about to be written. */
export interface Draft {
    readonly kind: RecordKind
    readonly subject: string
    readonly data: Readonly<Record<string, unknown>>
    readonly at: Date
}

/** The last record of a log, signed; whoever has kept one can tell later whether the log still continues it. */
export interface Head {
    readonly seq: number
    readonly hash: string
    readonly time: string
    /** The public audit key: Ed25519, SubjectPublicKeyInfo, base64url. */
    readonly key: string
    readonly signature: string
}

/** What the first record holds as the hash of the one before. */
export const GENESIS = '0'.repeat(64)

/** Signs heads; the private key never leaves it. */
export interface HeadSigner {
    /** As `Head.key`. */
    readonly key: string
    sign(record: Pick<StoredRecord, 'seq' | 'hash' | 'time'>): string
}

export function headSigner(privateKey: KeyObject): HeadSigner {
    return {
        key: toBase64Url(createPublicKey(privateKey).export({ type: 'spki', format: 'der' })),
        sign: (record) => toBase64Url(sign(null, headText(record), privateKey)),
    }
}

/** @throws AttestError ERR_BROKER_AUDIT */
export function checkSignature(head: Head, title: string): void {
    if (!isSigned(head, readKey(head.key)))
        throw brokerError('ERR_BROKER_AUDIT', `${title}: the signature of record ${head.seq} does not verify`)
}

/** Makes stored records of drafts. The last one is signed. */
export function link(drafts: readonly Draft[], last: StoredRecord | null, signer: HeadSigner): StoredRecord[] {
    const out: StoredRecord[] = []
    for (const { kind, subject, data, at } of drafts) {
        const before = out.at(-1) ?? last
        const body = {
            seq: (before?.seq ?? 0) + 1,
            time: at.toISOString(),
            kind,
            subject,
            data: JSON.stringify(data),
            prev: before?.hash ?? GENESIS,
        }
        const hash = hashOf(body)
        const signature = out.length === drafts.length - 1 ? signer.sign({ ...body, hash }) : null
        out.push({ ...body, hash, signature })
    }
    return out
}

/** Follows a chain record by record, from its beginning or from a record that is known. */
export class ChainCheck {
    last: StoredRecord | null = null
    readonly #key: KeyObject
    readonly #everySignature: boolean

    /** Without `everySignature` the caller checks the last one, which vouches for all before it. */
    constructor(key: string, everySignature: boolean) {
        this.#key = readKey(key)
        this.#everySignature = everySignature
    }

    /** @throws AttestError ERR_BROKER_AUDIT */
    next(record: StoredRecord): void {
        const { last } = this
        if (record.seq !== (last?.seq ?? 0) + 1)
            throw altered(`expected record ${(last?.seq ?? 0) + 1}, got ${record.seq}: records are missing`)
        if (record.prev !== (last?.hash ?? GENESIS))
            throw altered(`record ${record.seq} does not continue record ${record.seq - 1}`)
        if (record.hash !== hashOf(record)) throw altered(`record ${record.seq} is not what was written`)
        if (this.#everySignature && record.signature !== null) this.#checkSignature(record)
        this.last = record
    }

    /** @throws AttestError ERR_BROKER_AUDIT where the last record is not signed: somebody has added it */
    finish(): void {
        if (this.last) this.#checkSignature(this.last)
    }

    #checkSignature(record: StoredRecord): void {
        const { signature } = record
        if (signature === null || !isSigned({ ...record, signature }, this.#key))
            throw altered(`record ${record.seq} does not carry the signature of the audit key`)
    }
}

const altered = (text: string) => brokerError('ERR_BROKER_AUDIT', `the audit log was altered: ${text}`)

const hashOf = ({ seq, time, kind, subject, data, prev }: Omit<StoredRecord, 'hash' | 'signature'>): string =>
    createHash('sha256')
        .update(JSON.stringify(['guest-attest audit 1', seq, time, kind, subject, data, prev]))
        .digest('hex')

const headText = ({ seq, hash, time }: Pick<StoredRecord, 'seq' | 'hash' | 'time'>): Buffer =>
    Buffer.from(`guest-attest audit head 1\n${seq}\n${hash}\n${time}\n`)

const isSigned = (head: Omit<Head, 'key'>, key: KeyObject): boolean =>
    verify(null, headText(head), key, Buffer.from(head.signature, 'base64url'))

function readKey(key: string): KeyObject {
    try {
        return createPublicKey({ key: fromBase64Url(key, 'audit key'), format: 'der', type: 'spki' })
    } catch (cause) {
        throw brokerError('ERR_BROKER_AUDIT', 'the public audit key is malformed', { cause })
    }
}
