// The store in one SQLite file: write-ahead log, synchronous FULL, and a lock that dies with the process.
// SPDX-License-Identifier: Apache-2.0

import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { errnoOf, messageOf } from '#core/errors.ts'
import { fileError } from '#core/files.ts'
import { brokerError } from '../errors.ts'
import type { SealedResource, Store, StoredRecord } from './store.ts'

/** `PRAGMA user_version`: the written format. What follows one format is converted when it is opened. */
const FORMAT = 1

/** "gatb": what `file` and other programs know the database by. */
const APPLICATION_ID = 0x67617462

const TABLES = `
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL,
    prev TEXT NOT NULL,
    hash TEXT NOT NULL,
    signature TEXT
) STRICT;
CREATE TABLE resources (
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (path, version)
) STRICT;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${FORMAT};
`

/** SQLITE_BUSY. */
const BUSY = 5

/** Records that are read at once. */
const PAGE = 10_000

export interface SqliteOptions {
    /** For the audit of a broker that is stopped: the file must be there. */
    readonly existing?: boolean
}

/** @throws AttestError ERR_BROKER_RUNNING, ERR_BROKER_STORE */
export function sqliteStore(path: string, { existing = false }: SqliteOptions = {}): Store {
    if (existing) demandFile(path)
    const db = guarded(path, () => open(path))
    const statements = guarded(path, () => ({
        records: db.prepare('SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?'),
        append: db.prepare('INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)'),
        resource: db.prepare('SELECT * FROM resources WHERE path = ? AND version = ?'),
        put: db.prepare('INSERT INTO resources VALUES (?, ?, ?, ?, ?, ?)'),
        erase: db.prepare('DELETE FROM resources WHERE path = ?'),
        eraseBefore: db.prepare('DELETE FROM resources WHERE path = ? AND version < ?'),
    }))

    return {
        async records(after, limit = PAGE) {
            return guarded(path, () => statements.records.all(after, limit)) as unknown as StoredRecord[]
        },
        async commit(records, changes) {
            guarded(path, () => {
                db.exec('BEGIN IMMEDIATE')
                try {
                    for (const r of records)
                        statements.append.run(r.seq, r.time, r.kind, r.subject, r.data, r.prev, r.hash, r.signature)
                    for (const change of changes) {
                        if ('erase' in change) statements.erase.run(change.erase)
                        else if ('of' in change) statements.eraseBefore.run(change.of, change.eraseBefore)
                        else {
                            const { path, version, kind, keyId, wrappedKey, sealed } = change.put
                            statements.put.run(path, version, kind, keyId, wrappedKey, sealed)
                        }
                    }
                    db.exec('COMMIT')
                } catch (error) {
                    if (db.isTransaction) db.exec('ROLLBACK')
                    throw error
                }
                // What was erased must not outlive it in the log file.
                if (changes.some((change) => !('put' in change))) db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
            })
        },
        async resource(resourcePath, version) {
            const row = guarded(path, () => statements.resource.get(resourcePath, version))
            return row === undefined ? null : readResource(row)
        },
        async close() {
            db.close()
        },
    }
}

function open(path: string): DatabaseSync {
    const db = new DatabaseSync(path, { timeout: 0, allowExtension: false })
    // Exclusive: the first reader or writer takes the lock for as long as the process lives, whatever ends it.
    db.exec('PRAGMA locking_mode = EXCLUSIVE')
    db.exec('PRAGMA journal_mode = WAL')
    db.exec('PRAGMA synchronous = FULL')
    db.exec('PRAGMA secure_delete = ON')
    db.exec('BEGIN EXCLUSIVE')
    if (format(db) === 0) db.exec(TABLES)
    db.exec('COMMIT')
    return db
}

function format(db: DatabaseSync): number {
    const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'])
    const tables = Number(db.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'])
    if (version !== FORMAT && (version !== 0 || tables !== 0))
        throw brokerError('ERR_BROKER_STORE', `the database has format ${version}, expected ${FORMAT}`, {
            hint: 'it was written by another version of this program, or by another program',
        })
    return version
}

const readResource = (row: Readonly<Record<string, unknown>>): SealedResource => ({
    path: String(row['path']),
    version: Number(row['version']),
    kind: String(row['kind']),
    keyId: String(row['key_id']),
    wrappedKey: Buffer.from(row['wrapped_key'] as Uint8Array),
    sealed: Buffer.from(row['sealed'] as Uint8Array),
})

function guarded<T>(path: string, action: () => T): T {
    try {
        return action()
    } catch (cause) {
        if (!(cause instanceof Error) || !('errcode' in cause)) throw cause
        if (cause.errcode === BUSY)
            throw brokerError('ERR_BROKER_RUNNING', `${path} is in use: another broker serves these data`)
        throw brokerError('ERR_BROKER_STORE', `${path}: ${messageOf(cause)}`, { cause })
    }
}

function demandFile(path: string): void {
    try {
        statSync(path)
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') throw brokerError('ERR_BROKER_STORE', `${path}: there is no such database`)
        throw fileError(path, cause, 'run this as the user whom the broker runs as')
    }
}
