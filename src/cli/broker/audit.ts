// `broker audit`: what happened, and whether the log of it was altered. Of a running broker it asks over the socket; of one
// that is stopped it reads the files.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { parseHead, readHeadFile } from '#broker/audit/head.ts'
import { allRecords } from '#broker/audit/ledger.ts'
import type { Head } from '#broker/audit/record.ts'
import { type Signer, signerOf, verifyLog } from '#broker/audit/verify.ts'
import { keyPath } from '#broker/keys.ts'
import { sqliteStore } from '#broker/store/sqlite.ts'
import type { StoredRecord } from '#broker/store/store.ts'
import { AttestError } from '#core/errors.ts'
import { readInput, writeFileAtomic } from '#core/files.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { parseTime } from '../options/time.ts'
import { columns, note, print, printJson } from '../term.ts'
import { type Admin, admin, DATA_OPTION, folderOf } from './admin.ts'

export const command = define({
    options: {
        ...DATA_OPTION,
        since: { type: 'string', describe: 'records from this time on (ISO 8601)' },
        correlation: { type: 'string', describe: 'what happened under this correlation, as a denied guest reports it' },
        verify: { type: 'boolean', default: false, describe: 'check every record, every signature and the head' },
        checkpoint: {
            type: 'string',
            describe: 'with --verify: compare with the head in this file, kept elsewhere, and then bring it up to date',
        },
        key: { type: 'string', describe: 'with --verify: the audit key that signs the log, as --verify prints it' },
        ...JSON_OPTION,
    },
    examples: [
        ['--since 2026-11-20', 'what happened since then'],
        ['--correlation 8e3d6eaf00000005', 'why a guest was denied'],
        [
            '--verify --checkpoint /mnt/usb/broker.head',
            'was anything altered, cut off or put back since the last time?',
        ],
    ],
    details:
        'Exit status of --verify: 0 nothing was altered, 1 something was, 3 nobody can tell whose log it is.\n' +
        'Of a broker that is stopped, the signatures are compared with keys/audit.key; the listing checks nothing.\n' +
        'Without a checkpoint nobody can tell a folder that was put back as a whole; keep one where the broker cannot write.',
    async run(args) {
        const log = await openLog(args.data)
        try {
            const { checkpoint, key, json } = args
            if (args.verify || checkpoint !== undefined || key !== undefined)
                return await verify(
                    key === undefined ? log : { ...log, signer: { key, title: '--key' } },
                    checkpoint,
                    json,
                )
            await list(log, { from: since(args.since), correlation: args.correlation }, json)
            if (log.stopped) note('this is what stands in the files; whether they were altered, --verify says')
            return 0
        } finally {
            await log.close()
        }
    },
})

interface Log {
    readonly head: Head | null
    /** Whose log it ought to be. */
    readonly signer: Signer | null
    /** Read from the files, by nobody who has checked them. */
    readonly stopped: boolean
    records(): AsyncIterable<StoredRecord>
    close(): Promise<void>
}

async function openLog(data: string | undefined): Promise<Log> {
    const { socket, database, head, keys } = folderOf(data)
    if (existsSync(socket)) {
        const online = admin(data)
        try {
            const now = await online.json<Head | null>({ method: 'GET', path: '/v1/audit/head' })
            return {
                head: now,
                signer: now && { key: now.key, title: 'the running broker' },
                stopped: false,
                records: () => allRecords({ records: pages(online) }),
                close: async () => {},
            }
        } catch (error) {
            if (!(error instanceof AttestError) || error.code !== 'ERR_BROKER_STOPPED') throw error
        }
    }
    const store = sqliteStore(database, { existing: true })
    return {
        head: readHeadFile(head),
        signer: signerOf(keyPath(keys, 'audit')),
        stopped: true,
        records: () => allRecords(store),
        close: () => store.close(),
    }
}

const pages =
    ({ json }: Admin) =>
    (after: number): Promise<StoredRecord[]> =>
        json({ method: 'GET', path: `/v1/audit?after=${after}` })

async function verify(log: Log, path: string | undefined, json: boolean): Promise<0> {
    const kept = path !== undefined && existsSync(path) ? readInput(path).toString() : null
    const checkpoint = kept === null || path === undefined ? null : { head: parseHead(kept, path), title: path }
    const { head, signer } = log
    const last = await verifyLog({ records: log.records(), head, signer, checkpoint })
    if (path !== undefined && last) writeFileAtomic(path, `${JSON.stringify(last)}\n`, 0o644)
    if (json) printJson({ verified: true, head: last, checkpoint: checkpoint?.head ?? null })
    else if (last) {
        print(`verified: ${last.seq} records, the last of ${last.time}`)
        print(`hash ${last.hash}`)
        print(`audit key ${last.key}`)
        if (checkpoint) print(`continues ${path}, which named record ${checkpoint.head.seq}`)
        else if (path !== undefined) note(`${path} is new: keep it where the broker cannot write`)
    } else print('verified: there are no records')
    return 0
}

interface Wanted {
    readonly from: string
    readonly correlation: string | undefined
}

async function list(log: Log, { from, correlation }: Wanted, json: boolean): Promise<void> {
    const rows: string[][] = []
    for await (const record of log.records()) {
        if (record.time < from) continue
        const data = JSON.parse(record.data) as Record<string, unknown>
        if (correlation !== undefined && data['correlation'] !== correlation) continue
        if (json) printJson({ ...record, data })
        else rows.push([String(record.seq), record.time, record.kind, record.subject, summary(data)])
    }
    for (const line of columns(rows)) print(line)
}

/** What of a record fits a line; `--json` has the rest. */
const SHOWN = [
    'rule',
    'outcome',
    'code',
    'credential',
    'version',
    'repeats',
    'tee',
    'session',
    'peer',
    'correlation',
    'counts',
    'denials',
    'id',
] as const

const summary = (data: Readonly<Record<string, unknown>>): string =>
    SHOWN.flatMap((name) => {
        const value = data[name]
        if (value === undefined || value === null) return []
        return `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`
    }).join(' ')

const since = (text: string | undefined): string => (text === undefined ? '' : parseTime(text, '--since').toISOString())
