// Files that are read: those that decide trust only where nobody else could have written them, all within bounds.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { chmodSync, lchownSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { AttestError } from '#core/errors.ts'
import { checkTrustedFolder, fileError, readFolder, readInput, readTrustedFile } from '#core/files.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

const STRANGER = 12_345

/** A tree as it should be: `etc/conf` is a folder, `etc/conf/file` says "ours". */
function tree(t: ExecutionContext): string {
    const folder = temporaryFolder(t)
    mkdirSync(join(folder, 'etc/conf'), { recursive: true })
    mkdirSync(join(folder, 'home/deep'), { recursive: true })
    writeFileSync(join(folder, 'etc/conf/file'), 'ours', { mode: 0o644 })
    return folder
}

const mkfifo = (path: string): void => void spawnSync('mkfifo', ['-m', '600', path])

/** Puts the folder somewhere else, with a link in its old place. */
function moveBehind(folder: string, link: string, place: string): void {
    renameSync(join(folder, 'etc/conf'), join(folder, place))
    symlinkSync(link, join(folder, 'etc/conf'))
}

for (const { name, change } of [
    { name: 'one of mode 0644', change: () => undefined },
    { name: 'one that nobody else reads', change: (at) => chmodSync(join(at, 'etc/conf/file'), 0o400) },
    { name: 'one in a sticky folder that all may write into', change: (at) => chmodSync(join(at, 'etc'), 0o1777) },
    { name: 'one in a folder behind a link', change: (at) => moveBehind(at, '../real', 'real') },
    { name: 'one behind a link that climbs', change: (at) => moveBehind(at, './../home/../real', 'real') },
    {
        name: 'one behind two links',
        change(at) {
            symlinkSync('../real', join(at, 'home/next'))
            moveBehind(at, join(at, 'home/next'), 'real')
        },
    },
] as { name: string; change: (folder: string) => void }[])
    test(`trusted: ${name}`, (t) => {
        const folder = tree(t)
        change(folder)
        t.is(readTrustedFile(join(folder, 'etc/conf/file'))?.toString(), 'ours')
        t.true(checkTrustedFolder(join(folder, 'etc/conf')))
    })

for (const [name, path] of [
    ['no file', 'etc/conf/other'],
    ['no folder', 'etc/other/file'],
    ['a folder behind a link to nothing', 'etc/nothing/file'],
] as const)
    test(`not there: ${name}`, (t) => {
        const folder = tree(t)
        symlinkSync('/nowhere', join(folder, 'etc/nothing'))
        t.is(readTrustedFile(join(folder, path)), null)
        t.is(checkTrustedFolder(join(folder, path, 'deeper')), false)
    })

const chmod = (path: string, mode: number) => (at: string) => chmodSync(join(at, path), mode)

for (const { name, change, says } of [
    {
        name: 'a file that all may write',
        change: chmod('etc/conf/file', 0o646),
        says: /file can be written by others \(mode 0646\)/,
    },
    { name: 'a file that a group may write', change: chmod('etc/conf/file', 0o664), says: /file can be written/ },
    { name: 'a sticky file that all may write', change: chmod('etc/conf/file', 0o1666), says: /file can be written/ },
    { name: 'a folder that a group may write into', change: chmod('etc/conf', 0o775), says: /conf can be written/ },
    { name: 'a folder above that all may write into', change: chmod('etc', 0o777), says: /etc can be written/ },
    {
        name: 'a link',
        change(at) {
            renameSync(join(at, 'etc/conf/file'), join(at, 'etc/conf/real'))
            symlinkSync('real', join(at, 'etc/conf/file'))
        },
        says: /is a symbolic link/,
    },
    {
        name: 'a link to nothing',
        change: (at) => void replace(at, (path) => symlinkSync('/nowhere', path)),
        says: /is a symbolic link/,
    },
    { name: 'a pipe that nobody writes to', change: (at) => replace(at, mkfifo), says: /is not a regular file/ },
    {
        name: 'a folder behind a link, where all may write into the other place',
        change(at) {
            moveBehind(at, '../home/real', 'home/real')
            chmodSync(join(at, 'home'), 0o777)
        },
        says: /home can be written/,
    },
    {
        name: 'a folder behind two links, the second where all may write',
        change(at) {
            symlinkSync('../../real', join(at, 'home/deep/next'))
            moveBehind(at, '../home/deep/next', 'real')
            chmodSync(join(at, 'home'), 0o777)
        },
        says: /home can be written/,
    },
] as { name: string; change: (folder: string) => void; says: RegExp }[])
    test(`not trusted: ${name}`, (t) => {
        const folder = tree(t)
        change(folder)
        t.throws(() => readTrustedFile(join(folder, 'etc/conf/file')), { code: 'ERR_UNTRUSTED_FILE', message: says })
    })

function replace(folder: string, make: (path: string) => void): void {
    const path = join(folder, 'etc/conf/file')
    renameSync(path, `${path}.old`)
    make(path)
}

for (const path of ['etc/conf/file', 'etc/conf', 'etc', '.'])
    needs(ROOT)(`not trusted: ${path} of another user`, (t) => {
        const folder = tree(t)
        lchownSync(join(folder, path), STRANGER, 0)
        const error = t.throws<AttestError>(() => readTrustedFile(join(folder, 'etc/conf/file')), {
            code: 'ERR_UNTRUSTED_FILE',
            message: /belongs to user 12345: it must belong to root/,
        })
        t.regex(error?.hint ?? '', /^chown root \//)
    })

needs(ROOT)('not trusted: a link of another user, in a sticky folder', (t) => {
    const folder = tree(t)
    moveBehind(folder, '../real', 'real')
    chmodSync(join(folder, 'etc'), 0o1777)
    lchownSync(join(folder, 'etc/conf'), STRANGER, STRANGER)
    t.throws(() => readTrustedFile(join(folder, 'etc/conf/file')), { code: 'ERR_UNTRUSTED_FILE' })
    t.throws(() => checkTrustedFolder(join(folder, 'etc/conf')), { code: 'ERR_UNTRUSTED_FILE' })
})

needs(ROOT)(
    'not trusted: a device',
    (t) =>
        void t.throws(() => readTrustedFile('/dev/zero'), {
            code: 'ERR_UNTRUSTED_FILE',
            message: /not a regular file/,
        }),
)

test('not trusted: a socket, links without an end', async (t) => {
    const folder = tree(t)
    const server = createServer().listen(join(folder, 'etc/conf/socket'))
    t.teardown(() => server.close())
    await new Promise((resolve) => server.once('listening', resolve))
    symlinkSync('round', join(folder, 'etc/round'))
    t.throws(() => readTrustedFile(join(folder, 'etc/conf/socket')), { code: 'ERR_FILE' })
    t.throws(() => readTrustedFile(join(folder, 'etc/round/file')), { code: 'ERR_UNTRUSTED_FILE' })
})

for (const read of [readTrustedFile, readInput])
    for (const { size, most, fits } of [
        { size: 0, most: 0, fits: true },
        { size: 1, most: 0, fits: false },
        { size: 100, most: 100, fits: true },
        { size: 101, most: 100, fits: false },
        { size: 200_000, most: 200_000, fits: true },
        { size: 200_001, most: 200_000, fits: false },
        { size: 1024 * 1024, most: undefined, fits: true },
        { size: 1024 * 1024 + 1, most: undefined, fits: false },
    ])
        test(`${read.name}: ${size} bytes ${fits ? 'are' : 'are more than'} at most ${most ?? 'a mebibyte'}`, (t) => {
            const path = join(temporaryFolder(t), 'file')
            const bytes = Buffer.alloc(size, 'abc')
            writeFileSync(path, bytes, { mode: 0o644 })
            if (fits) t.true(read(path, most)?.equals(bytes))
            else t.throws(() => read(path, most), { code: 'ERR_LENGTH', message: /larger than \d+ bytes/ })
        })

test('input: files that do not say how large they are, a link, a file of somebody else', (t) => {
    const folder = tree(t)
    t.regex(readInput('/proc/self/status').toString(), /^Name:/)
    symlinkSync('conf/file', join(folder, 'etc/link'))
    chmodSync(join(folder, 'etc/conf/file'), 0o666)
    t.is(readInput(join(folder, 'etc/link')).toString(), 'ours')
})

for (const { name, path, code, says } of [
    { name: 'nothing', path: 'none', code: 'ERR_NOT_FOUND_FILE', says: /none: no such file/ },
    { name: 'a folder', path: 'etc', code: 'ERR_FILE_KIND', says: /etc: is a folder, a file was expected/ },
    {
        name: 'a file in the place of a folder',
        path: 'etc/conf/file/x',
        code: 'ERR_FILE_KIND',
        says: /x: a file stands where a folder was expected/,
    },
    { name: 'a name that is too long', path: 'x'.repeat(300), code: 'ERR_FILE', says: /ENAMETOOLONG/ },
])
    test(`no input: ${name}`, (t) => {
        const folder = tree(t)
        t.throws(() => readInput(join(folder, path)), { code, message: says })
    })

test('no input: a device without an end', (t) =>
    void t.throws(() => readInput('/dev/zero', 5000), { code: 'ERR_LENGTH' }))

test('input: what a shell hands over, and standard input', async (t) => {
    const program = `
        import { readInput } from '#core/files.ts'
        for (const path of process.argv.slice(1)) process.stdout.write(readInput(path))`
    const ran = await run('sh', [
        '-c',
        `(sleep 0.2; printf two) | "$@"`,
        'sh',
        process.execPath,
        '--input-type=module',
        '-e',
        program,
        '/proc/self/comm',
        '-',
    ])
    t.is(ran.stderr, '')
    t.regex(ran.stdout, /\ntwo$/)
})

test('a folder in the place of a file that decides trust is a mistake, and no attack', (t) => {
    t.throws(() => readTrustedFile(join(tree(t), 'etc/conf')), {
        code: 'ERR_FILE_KIND',
        message: /conf: is a folder, a file was expected/,
    })
})

for (const { name, path, code, says } of [
    { name: 'nothing', path: 'none', code: 'ERR_NOT_FOUND_FILE', says: /none: no such file or folder$/ },
    {
        name: 'a file',
        path: 'etc/conf/file',
        code: 'ERR_FILE_KIND',
        says: /file: a file stands where a folder was exp/,
    },
])
    test(`no folder to list: ${name}`, (t) => {
        t.throws(() => readFolder(join(tree(t), path)), { code, message: says })
    })

for (const { errno, hint } of [
    { errno: 'EACCES', hint: /^run this as root/ },
    { errno: 'EROFS', hint: /^run this as root/ },
    { errno: 'ENOSPC', hint: /^$/ },
])
    test(`what the system says of a file, without its call: ${errno}`, (t) => {
        const cause = Object.assign(new Error(`${errno}: so it is, open '/etc/.1f3a.tmp'`), { code: errno })
        const error = fileError('/etc/file', cause) as AttestError
        t.like(error, { code: 'ERR_FILE', message: `/etc/file: ${errno}: so it is`, exit: 3 })
        t.regex(error.hint ?? '', hint)
    })
