// Files that are written: they appear whole or not at all, and what was there stays where they cannot.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { createFile, makeFolder, writeFileAtomic, writeFiles } from '#core/files.ts'
import { temporaryFolder } from '#test/folder.ts'
import { run } from '../cli/run.ts'
import { programs, ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

for (const write of [writeFileAtomic, createFile])
    test(`${write.name}: these bytes, this mode whatever the umask, and nothing beside`, (t) => {
        const folder = temporaryFolder(t)
        write(join(folder, 'secret'), 'a')
        write(join(folder, 'public'), Buffer.from('b'), 0o666)
        write(join(folder, 'empty'), '')
        t.deepEqual(readdirSync(folder).toSorted(), ['empty', 'public', 'secret'])
        t.is(statSync(join(folder, 'secret')).mode & 0o7777, 0o600)
        t.is(statSync(join(folder, 'public')).mode & 0o7777, 0o666)
        t.is(readFileSync(join(folder, 'public'), 'utf8'), 'b')
        t.is(readFileSync(join(folder, 'empty'), 'utf8'), '')
    })

test('an atomic write is another file: who has the old one open reads it to its end', (t) => {
    const path = join(temporaryFolder(t), 'file')
    writeFileAtomic(path, 'old', 0o644)
    const before = statSync(path).ino
    writeFileAtomic(path, 'new')
    t.not(statSync(path).ino, before)
    t.is(statSync(path).mode & 0o777, 0o600, 'the mode is that of the write')
})

test('an atomic write replaces a link; what it led to stays', (t) => {
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'file'), 'old')
    symlinkSync('file', join(folder, 'link'))
    writeFileAtomic(join(folder, 'link'), 'new')
    t.true(lstatSync(join(folder, 'link')).isFile())
    t.is(readFileSync(join(folder, 'file'), 'utf8'), 'old')
})

for (const { name, make } of [
    { name: 'a file', make: (path) => writeFileSync(path, 'theirs') },
    { name: 'a link to nothing', make: (path) => symlinkSync('other', path) },
    { name: 'a folder', make: (path) => mkdirSync(path) },
    { name: 'a pipe', make: (path) => spawnSync('mkfifo', [path]) },
] as { name: string; make: (path: string) => void }[])
    test(`createFile leaves what is there: ${name}`, (t) => {
        const folder = temporaryFolder(t)
        make(join(folder, 'file'))
        const before = lstatSync(join(folder, 'file'))
        t.throws(() => createFile(join(folder, 'file'), 'ours'), {
            code: 'ERR_FILE',
            message: /file: EEXIST: file already exists$/,
        })
        t.is(lstatSync(join(folder, 'file')).ino, before.ino)
        t.deepEqual(readdirSync(folder), ['file'])
    })

for (const write of [writeFileAtomic, createFile])
    for (const { name, path, code } of [
        { name: 'no folder', path: 'none/file', code: 'ERR_NOT_FOUND_FILE' },
        { name: 'a file in the place of its folder', path: 'file/x', code: 'ERR_FILE_KIND' },
        { name: 'a folder in its place', path: 'folder', code: write === createFile ? 'ERR_FILE' : 'ERR_FILE_KIND' },
    ])
        test(`${write.name}: an error, and nothing is left: ${name}`, (t) => {
            const folder = temporaryFolder(t)
            mkdirSync(join(folder, 'folder'))
            writeFileSync(join(folder, 'file'), 'old')
            const { message } = t.throws(() => write(join(folder, path), 'x'), { code })
            t.true(message.startsWith(`${join(folder, path)}: `), 'it names what was asked for')
            t.deepEqual(readdirSync(folder).toSorted(), ['file', 'folder'])
            t.is(readFileSync(join(folder, 'file'), 'utf8'), 'old')
        })

for (const { name, places, replace, code } of [
    { name: 'new ones, and the last is there', places: ['a', 'b', 'file'], replace: false, code: 'ERR_FILE' },
    {
        name: 'new ones, and the last has no folder',
        places: ['a', 'none/b'],
        replace: false,
        code: 'ERR_NOT_FOUND_FILE',
    },
    {
        name: 'others replaced, and the last is a folder',
        places: ['a', 'folder'],
        replace: true,
        code: 'ERR_FILE_KIND',
    },
    { name: 'a folder of the kernel’s', places: ['a', '/proc/b'], replace: true, code: 'ERR_FILE' },
])
    test(`writeFiles: all of them, or none: ${name}`, (t) => {
        const folder = temporaryFolder(t)
        mkdirSync(join(folder, 'folder'))
        writeFileSync(join(folder, 'file'), 'old')
        const files = places.map((path) => ({ path: path.startsWith('/') ? path : join(folder, path), bytes: 'x' }))
        t.throws(() => writeFiles(files, { replace }), { code })
        t.deepEqual(readdirSync(folder).toSorted(), ['file', 'folder'])
        t.is(readFileSync(join(folder, 'file'), 'utf8'), 'old')
    })

/** Each write in a process of its own, which says what became of it. */
const WRITE = `
    import { openSync } from 'node:fs'
    import { createFile, makeFolder, writeFileAtomic, writeFiles } from '#core/files.ts'
    const [how, path, size, greedy] = process.argv.slice(1)
    const bytes = Buffer.alloc(Number(size), 'n')
    try { while (greedy) openSync('/dev/null') } catch {}
    try {
        (how === 'createFile' ? createFile : writeFileAtomic)(path, bytes)
        process.stdout.write('written')
    } catch ({ code, message }) {
        process.stdout.write(code + ' ' + message)
    }`

for (const how of ['writeFileAtomic', 'createFile']) {
    const args = [process.execPath, '--input-type=module', '-e', WRITE, how]

    test(`${how}: out of descriptors, what is there stays`, async (t) => {
        const folder = temporaryFolder(t)
        writeFileSync(join(folder, 'file'), 'old')
        const ran = await run('sh', [
            '-c',
            'ulimit -n 100; exec "$@"',
            'sh',
            ...args,
            join(folder, 'file'),
            '3',
            'greedy',
        ])
        t.regex(ran.stdout, /^ERR_FILE .*EMFILE/, ran.stderr)
        t.deepEqual(readdirSync(folder), ['file'])
        t.is(readFileSync(join(folder, 'file'), 'utf8'), 'old')
    })

    needs(ROOT, programs('unshare', 'mount'))(`${how}: a full disk, and what is there stays`, async (t) => {
        const folder = temporaryFolder(t)
        const path = join(folder, how === 'createFile' ? 'new' : 'file')
        const script = `mount -t tmpfs -o size=64k none ${folder} && printf old > ${folder}/file && "$@"; echo; ls -A ${folder}; cat ${folder}/file`
        const ran = await run('unshare', ['-m', 'sh', '-c', script, 'sh', ...args, path, '100000'])
        t.regex(ran.stdout, /^ERR_FILE .*ENOSPC.*\nfile\nold$/, ran.stderr)
    })
}

test('createFile: whoever looks at it while it is written sees nothing, or all of it', async (t) => {
    const folder = temporaryFolder(t)
    const [path, size] = [join(folder, 'new'), 48 * 1024 * 1024]
    const writing = run(process.execPath, ['--input-type=module', '-e', WRITE, 'createFile', path, String(size)])
    const seen = new Set<number | undefined>()
    let ended = false
    void writing.finally(() => {
        ended = true
    })
    while (!ended) {
        seen.add(statSync(path, { throwIfNoEntry: false })?.size)
        await new Promise((resolve) => setTimeout(resolve, 1))
    }
    t.is((await writing).stdout, 'written')
    seen.add(statSync(path).size)
    t.deepEqual([...seen], [undefined, size])
    t.deepEqual(readdirSync(folder), ['new'])
    t.is(statSync(path).nlink, 1)
})

test('a folder is made with those above it, and left alone where it is there', (t) => {
    const path = join(temporaryFolder(t), 'a/b')
    makeFolder(path, 0o700)
    makeFolder(path, 0o755)
    t.is(statSync(path).mode & 0o777, 0o700)
})

for (const path of ['file', 'file/x'])
    test(`a folder is not made where a file stands: ${path}`, (t) => {
        const folder = temporaryFolder(t)
        writeFileSync(join(folder, 'file'), '')
        t.throws(() => makeFolder(join(folder, path), 0o700), {
            code: 'ERR_FILE_KIND',
            message: `${join(folder, path)}: a file stands where a folder was expected`,
        })
    })
