// The audit log in use: a record is acknowledged when the database and the head beside it are durable. What is asked for
// while one batch is written goes into the next, so that a busy broker does not pay a sync for each release.
// SPDX-License-Identifier: Apache-2.0

import { brokerError } from '../errors.ts'
import type { Change, Store, StoredRecord } from '../store/store.ts'
import type { HeadFile } from './head.ts'
import { ChainCheck, type Draft, type Head, type HeadSigner, link } from './record.ts'

export interface Ledger {
    /** The last record that is durable. */
    readonly head: Head | null
    /** True while the last write failed. */
    readonly failing: boolean
    /** Drafts that were asked for and are not durable yet. */
    pending(): Iterable<Draft>
    /** The record, when it is durable. @throws AttestError ERR_BROKER_STORE: then it may or may not have been written */
    append(draft: Draft, change?: Change | readonly Change[]): Promise<StoredRecord>
    /** Waits for what is pending. */
    close(): Promise<void>
}

export interface LedgerParts {
    readonly store: Store
    readonly headFile: HeadFile
    readonly signer: HeadSigner
    /** Called with each record in its order: those of the past, and those that become durable. */
    readonly apply: (record: StoredRecord) => void
}

interface Waiting {
    readonly draft: Draft
    readonly change: Change | readonly Change[] | undefined
    resolve(record: StoredRecord): void
    reject(error: unknown): void
}

/**
 * Checks the whole chain against the head, and replays it.
 * @throws AttestError ERR_BROKER_AUDIT, ERR_BROKER_ROLLBACK, ERR_BROKER_STORE
 */
export async function openLedger({ store, headFile, signer, apply }: LedgerParts): Promise<Ledger> {
    let last = await replay({ store, headFile, signer, apply })
    let head = last && headOf(last, signer)
    if (head) headFile.write(head)

    let failing = false
    let queue: Waiting[] = []
    let batch: Waiting[] = []
    let running: Promise<void> | undefined

    async function run(): Promise<void> {
        // What else this turn of the event loop asks for joins the batch.
        await new Promise((resolve) => setImmediate(resolve))
        while (queue.length > 0) {
            const waiting = queue
            batch = queue
            queue = []
            try {
                await write(waiting)
                failing = false
            } catch (error) {
                failing = true
                batch = []
                for (const { reject } of waiting) reject(error)
            }
        }
        running = undefined
    }

    async function write(waiting: readonly Waiting[]): Promise<void> {
        const records = link(
            waiting.map(({ draft }) => draft),
            last,
            signer,
        )
        await store.commit(
            records,
            waiting.flatMap(({ change }) => change ?? []),
        )
        // From here on the records count, whether or not the head can be written: a later one vouches for them.
        for (const record of records) apply(record)
        batch = []
        last = records.at(-1) ?? last
        head = last && headOf(last, signer)
        if (head) headFile.write(head)
        for (const [index, { resolve }] of waiting.entries()) resolve(records[index] as StoredRecord)
    }

    return {
        get head() {
            return head
        },
        get failing() {
            return failing
        },
        *pending() {
            for (const { draft } of batch) yield draft
            for (const { draft } of queue) yield draft
        },
        append(draft, change) {
            return new Promise((resolve, reject) => {
                queue.push({ draft, change, resolve, reject })
                running ??= run()
            })
        },
        async close() {
            await running
        },
    }
}

async function replay({ store, headFile, signer, apply }: LedgerParts): Promise<StoredRecord | null> {
    const head = headFile.read()
    if (head && head.key !== signer.key)
        throw brokerError('ERR_BROKER_AUDIT', 'the head of the audit log was signed by another audit key')
    const chain = new ChainCheck(signer.key, false)
    for await (const record of allRecords(store)) {
        chain.next(record)
        if (record.seq === head?.seq && record.hash !== head.hash)
            throw brokerError('ERR_BROKER_ROLLBACK', `record ${record.seq} is not the one that the head was signed for`)
        apply(record)
    }
    chain.finish()
    checkNotBehind(chain.last, head, 'the head beside it')
    return chain.last
}

/** @throws AttestError ERR_BROKER_ROLLBACK where the log ends before a head that was known */
export function checkNotBehind(last: Pick<StoredRecord, 'seq'> | null, head: Head | null, title: string): void {
    if (head && (last?.seq ?? 0) < head.seq)
        throw brokerError(
            'ERR_BROKER_ROLLBACK',
            `the audit log ends at record ${last?.seq ?? 0}, ${title} says ${head.seq}: the database was put back to an older state`,
            { hint: 'restore the newest state of all files together; what was released since is not in this database' },
        )
}

/** Every record from the first on, read page by page. */
export async function* allRecords(store: Pick<Store, 'records'>): AsyncGenerator<StoredRecord> {
    for (let after = 0; ; ) {
        const page = await store.records(after)
        yield* page
        const end = page.at(-1)
        if (!end) return
        after = end.seq
    }
}

const headOf = ({ seq, hash, time, signature }: StoredRecord, { key }: HeadSigner): Head => ({
    seq,
    hash,
    time,
    key,
    signature: signature as string,
})
