// Configuration below the command: flags over files, values that a schema makes, and folders that are none.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import * as z from 'zod/mini'
import { loadConfig, type Overrides, parseTomlText, readToml, section, setting } from '#core/config.ts'
import { temporaryFolder } from '#test/folder.ts'

const PETS = section('pets', {
    cats: setting(() => z.int().check(z.gte(0), z.lte(9)), 2, 'how many cats'),
    name: setting(
        () =>
            z.pipe(
                z.string(),
                z.transform((text: string) => text.toUpperCase()),
            ),
        'TOM',
        'what they are called',
    ),
    food: setting(() => z.array(z.string()), ['fish'], 'what they eat'),
})
const HOUSE = section('house', { cats: setting(() => z.boolean(), true, 'whether they may come in') })

function folderOf(t: ExecutionContext, text = ''): string {
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'config.toml'), text, { mode: 0o644 })
    return folder
}

const load = (folder: string, overrides?: Overrides) => loadConfig(folder, [PETS, HOUSE], overrides)

test('a section alone, frozen; a value as its schema makes it; a default as it is', (t) => {
    const config = load(folderOf(t, '[pets]\nname = "kit"\n'))
    const values = config.get(PETS)
    t.deepEqual(values, { cats: 2, name: 'KIT', food: ['fish'] })
    t.true(Object.isFrozen(values))
    t.deepEqual(config.get(HOUSE), { cats: true })
})

test('a flag wins over files, and is named as the source', (t) => {
    const folder = folderOf(t, '[pets]\ncats = 3\n[house]\ncats = false\n')
    const config = load(folder, { 'pets.cats': { value: 4, flag: '--cats' } })
    t.is(config.get(PETS).cats, 4)
    t.deepEqual(
        config.list().map(({ section, name, source }) => `${section}.${name} ${source.replace(folder, '')}`),
        ['pets.cats --cats', 'pets.name default', 'pets.food default', 'house.cats /config.toml'],
    )
})

for (const { name, overrides, says } of [
    {
        name: 'out of its range',
        overrides: { 'pets.cats': { value: 10, flag: '--cats' } },
        says: /^--cats: pets\.cats: /,
    },
    {
        name: 'for a setting that there is not',
        overrides: { 'pets.dogs': { value: 1, flag: '--dogs' } },
        says: /^--dogs: unknown setting pets\.dogs/,
    },
    {
        name: 'for a section that there is not',
        overrides: { 'zoo.cats': { value: 1, flag: '--zoo' } },
        says: /^--zoo: unknown setting zoo\.cats/,
    },
    { name: 'for no section', overrides: { cats: { value: 1, flag: '--cats' } }, says: /^--cats: unknown setting/ },
])
    test(`a flag is refused: ${name}`, (t) =>
        void t.throws(() => load(folderOf(t), overrides as Overrides), { code: 'ERR_CONFIG', message: says }))

for (const { name, text } of [
    { name: 'a setting in the wrong section', text: '[house]\nname = "x"\n' },
    { name: 'a section as a list', text: '[[pets]]\ncats = 1\n' },
    { name: 'a section as a value', text: 'pets = 1\n' },
    { name: 'a section as a date', text: 'pets = 2026-01-01\n' },
    { name: 'a section within a section', text: '[pets.house]\ncats = true\n' },
    { name: 'a number that is none', text: '[pets]\ncats = nan\n' },
    { name: 'a part of a cat', text: '[pets]\ncats = 1.5\n' },
    { name: 'a number beyond a double', text: '[pets]\ncats = 9007199254740993\n' },
    { name: 'a property of every object', text: '["__proto__"]\ncats = 1\n' },
    { name: 'a section with the name of a method', text: '[toString]\ncats = 1\n' },
])
    test(`refused: ${name}`, (t) => void t.throws(() => load(folderOf(t, text)), { code: 'ERR_CONFIG' }))

for (const { name, make, code, says } of [
    {
        name: 'a drop-in folder that is a file',
        make: (folder: string) => writeFileSync(join(folder, 'config.d'), '', { mode: 0o644 }),
        code: 'ERR_FILE_KIND',
        says: /config\.d: a file stands where a folder was expected/,
    },
    {
        name: 'a drop-in that is a folder',
        make: (folder: string) => mkdirSync(join(folder, 'config.d/a.toml'), { recursive: true, mode: 0o755 }),
        code: 'ERR_FILE_KIND',
        says: /a\.toml: is a folder, a file was expected/,
    },
    {
        name: 'a drop-in that is a link to nothing',
        make(folder: string) {
            mkdirSync(join(folder, 'config.d'), { mode: 0o755 })
            symlinkSync('/nowhere', join(folder, 'config.d/a.toml'))
        },
        code: 'ERR_UNTRUSTED_FILE',
        says: /a\.toml is a symbolic link/,
    },
])
    test(`refused: ${name}`, (t) => {
        const folder = folderOf(t)
        make(folder)
        t.throws(() => load(folder), { code, message: says })
    })

test('text that is not UTF-8, and a file that is not there', (t) => {
    t.throws(() => parseTomlText(Buffer.of(0x61, 0xff), 'x.toml'), {
        code: 'ERR_CONFIG',
        message: 'x.toml: not UTF-8 text',
    })
    t.is(readToml(join(temporaryFolder(t), 'none.toml')), null)
})
