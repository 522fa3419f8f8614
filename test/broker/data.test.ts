// The folder of a broker: what is lost, exchanged, edited or put back stops the start.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { chmodSync, copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { type ExecutionContext } from 'ava'
import { type Data, openData } from '#broker/data.ts'
import { digestResource, openResource, sealResource } from '#broker/store/seal.ts'
import { temporaryFolder } from '#test/folder.ts'

const now = () => new Date('2026-11-20T12:00:00Z')
const open = (folder: string) => openData(folder, { init: true, now })

async function put(data: Data, path: string, bytes = randomBytes(32)): Promise<void> {
    const version = (data.state.versions.get(path) ?? 0) + 1
    const row = sealResource(data.masterKey, { path, kind: 'opaque', version }, bytes)
    const digest = digestResource(row)
    await data.ledger.append(
        { kind: 'put', subject: path, data: { version, kind: 'opaque', maxReleases: null, digest }, at: now() },
        { put: row },
    )
}

async function filled(t: ExecutionContext): Promise<string> {
    const folder = temporaryFolder(t)
    const data = await open(folder)
    for (const path of ['a/b/c', 'a/b/d', 'a/b/c']) await put(data, path)
    await data.close()
    return folder
}

function sql(folder: string, text: string): void {
    const db = new DatabaseSync(join(folder, 'broker.db'))
    db.exec(text)
    db.close()
}

test('a first start mints keys that nobody else may read, and a second start mints none', async (t) => {
    const folder = temporaryFolder(t)
    const first = await open(folder)
    t.deepEqual(
        first.minted.map(({ name }) => name),
        ['master', 'audit', 'token'],
    )
    for (const { path } of first.minted) t.is(statSync(path).mode & 0o777, 0o600)
    await first.close()
    const second = await open(folder)
    t.deepEqual(second.minted, [])
    t.is(second.ledger.head?.seq, 3)
    await second.close()
})

test('what was acknowledged is there after the next start', async (t) => {
    const data = await open(await filled(t))
    t.is(data.state.resources.get('a/b/c')?.version, 2)
    t.is(data.ledger.head?.seq, 6)
    const row = await data.store.resource('a/b/c', 2)
    t.is(row && digestResource(row), data.state.resources.get('a/b/c')?.digest ?? null)
    t.is(row && openResource(data.masterKey, row).length, 32)
    await data.close()
})

test('appends of one turn are one batch with one signature', async (t) => {
    const data = await open(temporaryFolder(t))
    await Promise.all(['x/y/1', 'x/y/2', 'x/y/3'].map((path) => put(data, path)))
    const records = await data.store.records(3)
    t.deepEqual(
        records.map(({ signature }) => signature !== null),
        [false, false, true],
    )
    await data.close()
})

test('a second broker on the same folder is refused', async (t) => {
    const folder = temporaryFolder(t)
    const data = await open(folder)
    await t.throwsAsync(open(folder), { code: 'ERR_BROKER_RUNNING' })
    await data.close()
})

test('the database that is ahead of the head is accepted: a crash came between', async (t) => {
    const folder = temporaryFolder(t)
    const data = await open(folder)
    copyFileSync(join(folder, 'audit.head'), join(folder, 'old.head'))
    await put(data, 'a/b/c')
    await data.close()
    copyFileSync(join(folder, 'old.head'), join(folder, 'audit.head'))
    const again = await open(folder)
    t.is(again.ledger.head?.seq, 4)
    await again.close()
})

test('a torn line of the head leaves the other one', async (t) => {
    const folder = await filled(t)
    const path = join(folder, 'audit.head')
    const lines = readFileSync(path, 'utf8').split('\n')
    const newest = lines.findIndex((line) => line.includes('"seq":6'))
    lines[newest] = (lines[newest] as string).replace(/.{40}\s*$/, (tail) => ' '.repeat(tail.length))
    writeFileSync(path, lines.join('\n'))
    const data = await open(folder)
    t.is(data.ledger.head?.seq, 6)
    await data.close()
})

for (const { name, code, spoil } of [
    { name: 'no master key', code: 'ERR_BROKER_KEY', spoil: (f) => rmSync(join(f, 'keys/master.key')) },
    { name: 'no audit key', code: 'ERR_BROKER_KEY', spoil: (f) => rmSync(join(f, 'keys/audit.key')) },
    { name: 'no token key', code: 'ERR_BROKER_KEY', spoil: (f) => rmSync(join(f, 'keys/token.key')) },
    {
        name: 'another master key',
        code: 'ERR_BROKER_KEY',
        spoil: (f) => writeFileSync(join(f, 'keys/master.key'), randomBytes(32)),
    },
    {
        name: 'a short master key',
        code: 'ERR_LENGTH',
        spoil: (f) => writeFileSync(join(f, 'keys/master.key'), randomBytes(31)),
    },
    {
        name: 'a master key that others may read',
        code: 'ERR_BROKER_KEY',
        spoil: (f) => chmodSync(join(f, 'keys/master.key'), 0o640),
    },
    { name: 'a folder that others may enter', code: 'ERR_BROKER_STORE', spoil: (f) => chmodSync(f, 0o750) },
    { name: 'no head', code: 'ERR_BROKER_AUDIT', spoil: (f) => rmSync(join(f, 'audit.head')) },
    { name: 'no database', code: 'ERR_BROKER_ROLLBACK', spoil: (f) => rmSync(join(f, 'broker.db')) },
    {
        name: 'an edited record',
        code: 'ERR_BROKER_AUDIT',
        spoil: (f) => sql(f, `UPDATE audit SET data = replace(data, 'opaque', 'luks-key') WHERE seq = 4`),
    },
    {
        name: 'an edited time',
        code: 'ERR_BROKER_AUDIT',
        spoil: (f) => sql(f, `UPDATE audit SET time = '2020-01-01T00:00:00.000Z' WHERE seq = 2`),
    },
    { name: 'a record taken out', code: 'ERR_BROKER_AUDIT', spoil: (f) => sql(f, 'DELETE FROM audit WHERE seq = 5') },
    {
        name: 'the last record cut off',
        code: 'ERR_BROKER_ROLLBACK',
        spoil: (f) => sql(f, 'DELETE FROM audit WHERE seq = 6'),
    },
    {
        name: 'records exchanged',
        code: 'ERR_BROKER_AUDIT',
        spoil: (f) =>
            sql(
                f,
                'UPDATE audit SET seq = 99 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 99',
            ),
    },
    {
        name: 'a signature taken off',
        code: 'ERR_BROKER_AUDIT',
        spoil: (f) => sql(f, 'UPDATE audit SET signature = NULL WHERE seq = 6'),
    },
    { name: 'another format', code: 'ERR_BROKER_STORE', spoil: (f) => sql(f, 'PRAGMA user_version = 2') },
] satisfies { name: string; code: string; spoil: (folder: string) => void }[])
    test(`the start is refused: ${name}`, async (t) => {
        const folder = await filled(t)
        spoil(folder)
        await t.throwsAsync(open(folder), { code })
    })

test('a record that was appended without the audit key is refused', async (t) => {
    const folder = await filled(t)
    const { createHash } = await import('node:crypto')
    const db = new DatabaseSync(join(folder, 'broker.db'))
    const last = db.prepare('SELECT hash FROM audit WHERE seq = 6').get() as { hash: string }
    const body = [
        7,
        now().toISOString(),
        'policy-put',
        'open',
        '{"text":"permit (principal, action, resource);"}',
        last.hash,
    ]
    const hash = createHash('sha256')
        .update(JSON.stringify(['guest-attest audit 1', ...body]))
        .digest('hex')
    db.prepare('INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, NULL)').run(...(body as string[]), hash)
    db.close()
    await t.throwsAsync(open(folder), { code: 'ERR_BROKER_AUDIT', message: /record 7 does not carry the signature/ })
})

for (const { name, spoil } of [
    {
        name: 'put back to an older version',
        spoil: `UPDATE resources SET version = 9 WHERE path = 'a/b/c' AND version = 2; UPDATE resources SET version = 2 WHERE path = 'a/b/c' AND version = 1`,
    },
    {
        name: 'exchanged with another',
        spoil: `UPDATE resources SET path = 'a/b/x' WHERE path = 'a/b/c' AND version = 2; UPDATE resources SET path = 'a/b/c', version = 2 WHERE path = 'a/b/d'`,
    },
    { name: 'of another kind', spoil: `UPDATE resources SET kind = 'luks-key' WHERE path = 'a/b/c'` },
    { name: 'edited', spoil: `UPDATE resources SET sealed = zeroblob(60) WHERE path = 'a/b/c'` },
])
    test(`a row that was ${name} neither has its digest nor decrypts`, async (t) => {
        const folder = await filled(t)
        sql(folder, spoil)
        const data = await open(folder)
        const row = await data.store.resource('a/b/c', 2)
        t.not(row && digestResource(row), data.state.resources.get('a/b/c')?.digest)
        t.throws(() => row && openResource(data.masterKey, row), { code: 'ERR_BROKER_ROW' })
        await data.close()
    })

test('--no-init makes nothing', async (t) => {
    const folder = join(temporaryFolder(t), 'new')
    await t.throwsAsync(openData(folder, { init: false, now }), { code: 'ERR_BROKER_STORE' })
    t.throws(() => statSync(folder))
})

test('the master key as a credential: nothing of it in the folder, another one stops the start', async (t) => {
    const folder = temporaryFolder(t)
    const credentials = temporaryFolder(t)
    const masterKey = join(credentials, 'master-key')
    const start = () => openData(folder, { init: true, now, masterKey })
    await t.throwsAsync(start, { code: 'ERR_BROKER_KEY', message: /no such credential/ })
    writeFileSync(masterKey, randomBytes(31), { mode: 0o440 })
    await t.throwsAsync(start, { message: /32 bytes/ })
    writeFileSync(masterKey, randomBytes(32))
    const first = await start()
    t.deepEqual(
        first.minted.map(({ name }) => name),
        ['audit', 'token'],
    )
    await put(first, 'a/b/c')
    await first.close()
    await (await start()).close()
    await t.throwsAsync(open(folder), {
        code: 'ERR_BROKER_KEY',
        message: /master\.key is missing beside existing data/,
    })
    writeFileSync(masterKey, randomBytes(32))
    await t.throwsAsync(start, { code: 'ERR_BROKER_KEY', message: /is not the key of these data/ })
    chmodSync(masterKey, 0o444)
    await t.throwsAsync(start, { code: 'ERR_BROKER_KEY', message: /can be read by others/ })
})
