// Checks a whole audit log from outside: every record, every signature, its head, and a head that was kept elsewhere.
// SPDX-License-Identifier: Apache-2.0

import { createPrivateKey } from 'node:crypto'
import { wipe } from '#core/bytes.ts'
import { AttestError, errnoOf } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { brokerError } from '../errors.ts'
import type { StoredRecord } from '../store/store.ts'
import { checkNotBehind } from './ledger.ts'
import { ChainCheck, type Head, headSigner } from './record.ts'

/** Whose signatures the log must carry. */
export interface Signer {
    /** As `Head.key`. */
    readonly key: string
    /** Who says so. */
    readonly title: string
}

export interface LogToVerify {
    readonly records: AsyncIterable<StoredRecord>
    /** The head beside the database: anybody who can write there could have signed it, with a key of his own. */
    readonly head: Head | null
    /** Null where nobody knows: then a checkpoint has to. */
    readonly signer: Signer | null
    /** A head that was kept elsewhere, and the name of it: what nobody with access to the broker can put back. */
    readonly checkpoint: { readonly head: Head; readonly title: string } | null
}

/**
 * The last record, signed; null for a log without records.
 * @throws AttestError ERR_BROKER_AUDIT, ERR_BROKER_ROLLBACK; ERR_BROKER_SIGNER where all of it fits together, and nobody
 * says whose it is
 */
export async function verifyLog({ records, head, signer, checkpoint }: LogToVerify): Promise<Head | null> {
    const known = [...(head ? [{ head, title: 'its head' }] : []), ...(checkpoint ? [checkpoint] : [])]
    const key = commonKey([...(signer ? [signer] : []), ...known.map(({ head: { key }, title }) => ({ key, title }))])
    const chain = key === null ? null : new ChainCheck(key, true)
    for await (const record of records) {
        if (!chain) throw signerUnknown()
        chain.next(record)
        for (const { head: at, title } of known)
            if (record.seq === at.seq && record.hash !== at.hash)
                throw brokerError(
                    'ERR_BROKER_ROLLBACK',
                    `record ${record.seq} is not the one that ${title} names: the log was rewritten`,
                )
    }
    chain?.finish()
    const last = chain?.last ?? null
    for (const { head: at, title } of known) checkNotBehind(last, at, title)
    if (!last || key === null) return null
    if (!signer && !checkpoint) throw signerUnknown()
    return { seq: last.seq, hash: last.hash, time: last.time, key, signature: last.signature as string }
}

/**
 * The signer of a broker that is stopped, by its key file. Null where there is none, or none that this process may read.
 * @throws AttestError ERR_BROKER_KEY, ERR_FILE
 */
export function signerOf(path: string): Signer | null {
    let bytes: Buffer
    try {
        // Whoever could exchange the key could exchange the log with it: that it is closed to others adds nothing here.
        bytes = readInput(path)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        if (error.code === 'ERR_NOT_FOUND_FILE' || errnoOf(error.cause) === 'EACCES') return null
        throw error
    }
    try {
        return { key: headSigner(createPrivateKey({ key: bytes, format: 'pem' })).key, title: path }
    } catch (cause) {
        throw brokerError('ERR_BROKER_KEY', `${path}: not a private key in PEM`, { cause })
    } finally {
        wipe(bytes)
    }
}

function commonKey(signers: readonly Signer[]): string | null {
    const [first, ...others] = signers
    const other = others.find(({ key }) => key !== first?.key)
    if (first && other)
        throw brokerError(
            'ERR_BROKER_AUDIT',
            `the log is signed by another key: ${first.title} and ${other.title} do not name the same`,
        )
    return first?.key ?? null
}

const signerUnknown = () =>
    brokerError(
        'ERR_BROKER_SIGNER',
        'nothing here says who signs the audit log, and that it is consistent in itself proves nothing',
        {
            hint: 'with keys/audit.key in its place, or with --checkpoint or --key, it is compared with the key of the broker',
        },
    )
