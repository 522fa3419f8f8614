// Checks a whole audit log from outside: every record, every signature, its head, and a head that was kept elsewhere.
// SPDX-License-Identifier: Apache-2.0

import { brokerError } from '../errors.ts'
import type { StoredRecord } from '../store/store.ts'
import { checkNotBehind } from './ledger.ts'
import { ChainCheck, type Head } from './record.ts'

export interface LogToVerify {
    readonly records: AsyncIterable<StoredRecord>
    /** The head beside the database. */
    readonly head: Head | null
    /** A head that was kept elsewhere, and the name of it: what nobody with access to the broker can put back. */
    readonly checkpoint: { readonly head: Head; readonly title: string } | null
}

/**
 * The last record, signed; null for a log without records.
 * @throws AttestError ERR_BROKER_AUDIT, ERR_BROKER_ROLLBACK
 */
export async function verifyLog({ records, head, checkpoint }: LogToVerify): Promise<Head | null> {
    const known = [
        ...(head ? [{ head, title: 'its head' }] : []),
        ...(checkpoint ? [{ head: checkpoint.head, title: checkpoint.title }] : []),
    ]
    const [first] = known
    if (!first) return null
    const { key } = checkpoint?.head ?? first.head
    if (head && head.key !== key)
        throw brokerError('ERR_BROKER_AUDIT', `the log is signed by another key than ${checkpoint?.title} was`)
    const chain = new ChainCheck(key, true)
    for await (const record of records) {
        chain.next(record)
        for (const { head: at, title } of known)
            if (record.seq === at.seq && record.hash !== at.hash)
                throw brokerError(
                    'ERR_BROKER_ROLLBACK',
                    `record ${record.seq} is not the one that ${title} names: the log was rewritten`,
                )
    }
    chain.finish()
    for (const { head: at, title } of known) checkNotBehind(chain.last, at, title)
    const last = chain.last
    return last && { seq: last.seq, hash: last.hash, time: last.time, key, signature: last.signature as string }
}
