// The folder of a broker: database, head of the audit log and keys, opened together and checked against each other.
// One process at a time: the database's lock is held for as long as the process lives.
// SPDX-License-Identifier: Apache-2.0

import type { KeyObject } from 'node:crypto'
import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkTrustedFolder, fileError, makeFolder } from '#core/files.ts'
import { createHeadFile, type HeadFile, openHeadFile } from './audit/head.ts'
import { type Ledger, openLedger } from './audit/ledger.ts'
import { headSigner } from './audit/record.ts'
import { brokerError } from './errors.ts'
import { type KeyFile, type KeyName, keyPath, loadKey, loadMasterKey, mintKey } from './keys.ts'
import { emptyState, type State } from './state.ts'
import type { WrappingKey } from './store/seal.ts'
import { sqliteStore } from './store/sqlite.ts'
import type { Store } from './store/store.ts'

/** Where things stand in the folder. */
export const dataPaths = (folder: string) => ({
    folder,
    database: join(folder, 'broker.db'),
    head: join(folder, 'audit.head'),
    keys: join(folder, 'keys'),
    tls: join(folder, 'tls'),
    collateral: join(folder, 'collateral'),
    socket: join(folder, 'admin.sock'),
})

export type DataPaths = ReturnType<typeof dataPaths>

export interface OpenOptions {
    /** Make what is missing, where nothing is there yet. */
    readonly init: boolean
    readonly now: () => Date
    /** Hears of each key file as it is made: whatever fails afterwards, it is there. */
    readonly made?: ((key: MadeKey) => void) | undefined
    /** The file of the master key, where it is not in the folder. */
    readonly masterKey?: string | undefined
}

export interface MadeKey {
    readonly name: KeyName
    readonly path: string
}

export interface Data {
    readonly paths: DataPaths
    readonly store: Store
    readonly state: State
    readonly ledger: Ledger
    readonly masterKey: WrappingKey
    readonly tokenKey: KeyObject
    /** Key files that were made by this start. */
    readonly minted: readonly MadeKey[]
    /** A key that is made when it is first needed, and must be there ever after. @throws AttestError ERR_BROKER_KEY */
    key(name: Exclude<KeyName, 'master'>): Promise<KeyFile<KeyObject>>
    close(): Promise<void>
}

/**
 * Opens the folder, or makes it.
 * @throws AttestError ERR_BROKER_KEY, ERR_BROKER_RUNNING, ERR_BROKER_AUDIT, ERR_BROKER_ROLLBACK, ERR_BROKER_STORE
 */
export async function openData(folder: string, { init, now, made, masterKey: credential }: OpenOptions): Promise<Data> {
    const paths = dataPaths(folder)
    openFolder(paths.folder, init)
    const store = sqliteStore(paths.database)
    let headFile: HeadFile | undefined
    try {
        const isNew = (await store.records(0, 1)).length === 0
        const minted: MadeKey[] = []
        const mint = (name: KeyName) => {
            const path = keyPath(paths.keys, name)
            if (!init)
                throw brokerError('ERR_BROKER_KEY', `${path} is missing, and --no-init was given: it is not made`)
            openFolder(paths.keys, init)
            mintKey(paths.keys, name)
            minted.push({ name, path })
            made?.({ name, path })
        }
        // Beside data nothing is made anew: a new key would open nothing, and would hide that the old one is lost.
        const need = <T>(name: KeyName, load: () => T | null): T => {
            const found = load()
            if (found) return found
            if (!isNew) throw missing(keyPath(paths.keys, name))
            mint(name)
            return load() as T
        }
        const masterKey = need('master', () => loadMasterKey(paths.keys, credential))
        const auditKey = need('audit', () => loadKey(keyPath(paths.keys, 'audit')))
        if (isNew) createHeadFile(paths.head)
        headFile = openHeadFile(paths.head)

        const state = emptyState()
        const ledger = await openLedger({
            store,
            headFile,
            signer: headSigner(auditKey.key),
            apply: state.apply,
        })
        const register = async (name: KeyName, { path, id }: KeyFile<unknown>) => {
            const known = state.keys.get(name)
            if (known === undefined) await ledger.append({ kind: 'key', subject: name, data: { id }, at: now() })
            else if (known !== id)
                throw brokerError(
                    'ERR_BROKER_KEY',
                    `${path} is not the key of these data: expected ${known}, got ${id}`,
                )
        }
        const key: Data['key'] = async (name) => {
            const path = keyPath(paths.keys, name)
            let file = loadKey(path)
            if (!file && state.keys.has(name)) throw missing(path)
            if (!file) mint(name)
            file ??= loadKey(path) as KeyFile<KeyObject>
            await register(name, file)
            return file
        }
        await Promise.all([register('master', masterKey), register('audit', auditKey)])
        const { key: tokenKey } = await key('token')
        const close = async () => {
            await ledger.close()
            headFile?.close()
            await store.close()
        }
        return { paths, store, state, ledger, masterKey: masterKey.key, tokenKey, minted, key, close }
    } catch (error) {
        headFile?.close()
        await store.close()
        throw error
    }
}

const missing = (path: string) =>
    brokerError('ERR_BROKER_KEY', `${path} is missing beside existing data`, {
        hint: 'restore it from the backup: a new key would not open what the old one sealed',
    })

const ELSEWHERE = 'name another folder with --data, or run as a user who may write there'

function openFolder(path: string, init: boolean): void {
    if (init) makeFolder(path, 0o700, ELSEWHERE)
    if (!checkTrustedFolder(path))
        throw brokerError('ERR_BROKER_STORE', `${path} does not exist`, { hint: 'leave --no-init out to make it' })
    try {
        accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
    } catch (cause) {
        throw fileError(path, cause, ELSEWHERE)
    }
    // Behind a link, which is where systemd keeps the state of a service without a user of its own.
    const mode = statSync(path).mode & 0o777
    // Whoever reaches the folder reaches the administration's socket in it.
    if ((mode & 0o077) !== 0)
        throw brokerError('ERR_BROKER_STORE', `${path} can be entered by others (mode ${mode.toString(8)})`, {
            hint: `chmod 700 ${path}`,
        })
}
