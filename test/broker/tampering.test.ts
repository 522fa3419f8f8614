// Somebody can write to the database: rows that are exchanged, edited or put back are not released, and the log shows it.
// SPDX-License-Identifier: Apache-2.0

import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { run } from './process.ts'
import { POLICY, REFERENCE, rig } from './rig.ts'

const SQL = (folder: string, text: string) => {
    const db = new DatabaseSync(join(folder, 'broker.db'))
    db.exec(text)
    db.close()
}

for (const { name, spoil } of [
    {
        name: 'exchanged with another',
        spoil: `UPDATE resources SET path = 'web/files/x' WHERE path = 'web/files/a'; UPDATE resources SET path = 'web/files/a' WHERE path = 'web/files/b'`,
    },
    {
        name: 'put back to an older version',
        spoil: `DELETE FROM resources WHERE path = 'web/files/a' AND version = 2; UPDATE resources SET version = 2 WHERE path = 'web/files/a'`,
    },
    { name: 'edited', spoil: `UPDATE resources SET sealed = randomblob(length(sealed)) WHERE path = 'web/files/a'` },
    { name: 'taken out', spoil: `DELETE FROM resources WHERE path = 'web/files/a'` },
])
    test(`a row that was ${name} is not released`, async (t) => {
        const first = await rig(t)
        await first.admin('POST', '/v1/references', REFERENCE)
        await first.admin('PUT', '/v1/policies/main', POLICY)
        for (const [path, bytes] of [
            ['a', 'old'],
            ['a', 'new'],
            ['b', 'other'],
        ] as const)
            await first.admin('PUT', `/v1/resources/web/files/${path}`, Buffer.from(bytes))
        await first.stop()
        SQL(first.folder, spoil)
        const second = await rig(t, { folder: first.folder })
        const guest = await second.attest()
        const answer = await guest.get('web/files/a')
        t.is(answer.status, 500)
        t.regex(answer.json.detail, /internal error/)
        t.true(second.log.some((line) => line.includes('is not the row that the audit log recorded')))
        const audit = (await second.admin('GET', '/v1/audit')).json as { kind: string; data: string }[]
        t.is(JSON.parse(audit.at(-1)?.data ?? '{}').code, 'ERR_BROKER_ROW')
        t.is(audit.filter(({ kind }) => kind === 'release').length, 0)
    })

/** A broker that is stopped, with a release in its log, and a checkpoint of it. */
async function stopped(t: Parameters<typeof rig>[0]) {
    const broker = await rig(t)
    await broker.admin('POST', '/v1/references', REFERENCE)
    await broker.admin('PUT', '/v1/policies/main', POLICY)
    await broker.admin('PUT', '/v1/resources/web/files/a', Buffer.from('x'))
    const guest = await broker.attest()
    await guest.get('web/files/a')
    const checkpoint = join(temporaryFolder(t), 'broker.head')
    return { broker, data: broker.folder, checkpoint }
}

const audit = (data: string, ...words: string[]) => run('broker', 'audit', '--data', data, ...words)

test('audit: of a running broker and of a stopped one, and on from a checkpoint', async (t) => {
    const { broker, data, checkpoint } = await stopped(t)
    const listed = await audit(data)
    t.is(listed.code, 0, listed.stderr)
    t.regex(listed.stdout, /release +web\/files\/a +rule=web-disks version=1 tee=snp/)
    const first = await audit(data, '--verify', '--checkpoint', checkpoint)
    t.is(first.code, 0, first.stderr)
    t.regex(first.stderr, /broker\.head is new/)
    await broker.admin('PUT', '/v1/resources/web/files/a', Buffer.from('y'))
    await broker.stop()
    const later = await audit(data, '--verify', '--checkpoint', checkpoint, '--json')
    t.is(later.code, 0, later.stderr)
    const { head, checkpoint: before } = JSON.parse(later.stdout)
    t.is(head.seq, before.seq + 1)
    t.is(JSON.parse(readFileSync(checkpoint, 'utf8')).seq, head.seq, 'the checkpoint was brought up to date')
    const since = await audit(data, '--since', '2999-01-01')
    t.is(since.stdout, '')
})

for (const { name, code, message, spoil } of [
    {
        name: 'a record was edited',
        code: 1,
        message: /record 8 is not what was written \(ERR_BROKER_AUDIT\)/,
        spoil: (f: string) => SQL(f, `UPDATE audit SET subject = 'web/files/z' WHERE seq = 8`),
    },
    {
        name: 'a record is missing',
        code: 1,
        message: /records are missing/,
        spoil: (f: string) => SQL(f, 'DELETE FROM audit WHERE seq = 7'),
    },
    {
        name: 'the end was cut off',
        code: 1,
        message: /ERR_BROKER_ROLLBACK/,
        spoil: (f: string) => SQL(f, 'DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)'),
    },
    {
        name: 'a signature was exchanged',
        code: 1,
        message: /signature of the audit key/,
        spoil: (f: string) =>
            SQL(f, `UPDATE audit SET signature = (SELECT signature FROM audit WHERE seq = 3) WHERE seq = 5`),
    },
    {
        name: 'there is no database',
        code: 3,
        message: /no such database/,
        spoil: (f: string) => rmSync(join(f, 'broker.db')),
    },
])
    test(`audit --verify finds that ${name}`, async (t) => {
        const { broker, data } = await stopped(t)
        await broker.stop()
        spoil(data)
        const verified = await audit(data, '--verify')
        t.is(verified.code, code, verified.stderr)
        t.regex(verified.stderr, message)
    })

test('a folder that was put back as a whole is found by the checkpoint alone', async (t) => {
    const { broker, data, checkpoint } = await stopped(t)
    await broker.stop()
    const backup = join(temporaryFolder(t), 'backup')
    mkdirSync(backup)
    for (const file of ['broker.db', 'audit.head']) copyFileSync(join(data, file), join(backup, file))
    const again = await rig(t, { folder: data })
    const guest = await again.attest()
    await guest.get('web/files/a')
    await again.stop()
    t.is((await audit(data, '--verify', '--checkpoint', checkpoint)).code, 0)
    t.false(existsSync(join(data, 'broker.db-wal')))
    for (const file of ['broker.db', 'audit.head']) copyFileSync(join(backup, file), join(data, file))
    t.is((await audit(data, '--verify')).code, 0, 'by itself the folder is whole')
    const compared = await audit(data, '--verify', '--checkpoint', checkpoint)
    t.is(compared.code, 1)
    t.regex(compared.stderr, /put back to an older state \(ERR_BROKER_ROLLBACK\)/)
})

test('a log that was written anew under another key is found by the checkpoint', async (t) => {
    const { broker, data, checkpoint } = await stopped(t)
    await audit(data, '--verify', '--checkpoint', checkpoint)
    await broker.stop()
    rmSync(data, { recursive: true })
    const forged = await rig(t, { folder: data })
    await forged.stop()
    const compared = await audit(data, '--verify', '--checkpoint', checkpoint)
    t.is(compared.code, 1)
    t.regex(compared.stderr, /signed by another key/)
})

test('a log that another broker has signed is not verified, and one that nobody can compare is not either', async (t) => {
    const { broker, data } = await stopped(t)
    const other = await stopped(t)
    await broker.stop()
    await other.broker.stop()
    const listed = await audit(data)
    t.regex(listed.stderr, /whether they were altered, --verify says/)
    const verified = await audit(data, '--verify', '--json')
    t.is(verified.code, 0, verified.stderr)
    const { key } = JSON.parse(verified.stdout).head
    for (const file of ['broker.db', 'audit.head']) copyFileSync(join(other.data, file), join(data, file))
    for (const words of [['--verify'], ['--key', key]]) {
        const forged = await audit(data, ...words)
        t.is(forged.code, 1)
        t.regex(forged.stderr, /signed by another key/)
    }
    rmSync(join(other.data, 'keys/audit.key'))
    const checkpoint = join(temporaryFolder(t), 'broker.head')
    const unknown = await audit(other.data, '--verify', '--checkpoint', checkpoint)
    t.is(unknown.code, 3)
    t.regex(unknown.stderr, /nothing here says who signs the audit log.*\(ERR_BROKER_SIGNER\)/)
    t.false(existsSync(checkpoint), 'what nobody vouches for becomes no checkpoint')
    const wrong = await audit(other.data, '--key', key)
    t.is(wrong.code, 1)
    t.regex(wrong.stderr, /--key and its head do not name the same/)
})

test('an empty head does not hide what stands in the log', async (t) => {
    const { broker, data } = await stopped(t)
    await broker.stop()
    writeFileSync(join(data, 'audit.head'), '')
    t.is((await audit(data, '--verify')).code, 0, 'a crash may come before the first head')
    SQL(data, `UPDATE audit SET subject = 'web/files/z' WHERE seq = 8`)
    const altered = await audit(data, '--verify')
    t.is(altered.code, 1)
    t.regex(altered.stderr, /record 8 is not what was written/)
    rmSync(join(data, 'keys/audit.key'))
    t.is((await audit(data, '--verify')).code, 3)
})

test('a checkpoint that is none is refused', async (t) => {
    const { broker, data, checkpoint } = await stopped(t)
    await broker.stop()
    writeFileSync(checkpoint, '{"seq":1}\n')
    const compared = await audit(data, '--verify', '--checkpoint', checkpoint)
    t.is(compared.code, 2)
    t.regex(compared.stderr, /not the head of an audit log/)
})
