// `config`: which values are in force, where each came from, and what is refused with its place.
// SPDX-License-Identifier: Apache-2.0

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { InForce } from '#core/config.ts'
import { temporaryFolder } from '#test/folder.ts'
import { guestAttest } from './run.ts'

type Files = Readonly<Record<string, string>>

function folderOf(t: ExecutionContext, files: Files): string {
    const folder = temporaryFolder(t)
    for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, name)), { recursive: true, mode: 0o755 })
        writeFileSync(join(folder, name), text, { mode: 0o644 })
    }
    return folder
}

const config = (folder: string, ...args: string[]) =>
    guestAttest(['config', ...args], { env: { GUEST_ATTEST_CONFIG: folder } })

/** What is in force, `section.name`, and the file that says so, within the folder. */
async function inForce(folder: string): Promise<Record<string, readonly [value: unknown, source: string]>> {
    const { stdout, stderr } = await config(folder, '--json')
    const { settings, ...rest } = JSON.parse(stdout || stderr) as { folder: string; settings: InForce[] }
    if (rest.folder !== folder) throw new Error(`another folder: ${rest.folder}`)
    return Object.fromEntries(
        settings.map(({ section, name, value, source }) => [
            `${section}.${name}`,
            [value, source.replace(`${folder}/`, '')],
        ]),
    )
}

test('without a folder every value is its default, and says what it means', async (t) => {
    const { code, stdout, stderr } = await config('/nowhere/at-all')
    t.is(code, 0, stderr)
    const [folder, ...lines] = stdout.trimEnd().split('\n')
    t.is(folder, 'read from /nowhere/at-all')
    t.true(lines.length >= 10)
    for (const line of lines) t.regex(line, /^[a-z]+\.[A-Za-z]+ = \S+ +\(default\) {2}\S.{10,}$/)
    t.is(new Set(lines.map((line) => line.indexOf('(default)'))).size, 1, 'aligned')
})

test('a later file wins, setting by setting', async (t) => {
    const values = await inForce(
        folderOf(t, {
            'config.toml': '[drivers]\nspacingMs = 5\n[unlock]\ndeadlineMs = 5000\nrequestTimeoutMs = 700\n',
            'config.d/20.toml': '[drivers]\nspacingMs = 20\n',
            'config.d/10.toml': '[drivers]\nspacingMs = 10\n[unlock]\ndeadlineMs = 6000\n',
            'config.d/30.conf': '[drivers]\nspacingMs = 30\n',
            'config.d/.40.toml': '[drivers]\nspacingMs = 40\n',
        }),
    )
    t.deepEqual(values['drivers.spacingMs'], [20, 'config.d/20.toml'])
    t.deepEqual(values['unlock.deadlineMs'], [6000, 'config.d/10.toml'])
    t.deepEqual(values['unlock.requestTimeoutMs'], [700, 'config.toml'])
    t.deepEqual(values['broker.listen'], ['127.0.0.1:8443', 'default'])
})

for (const { name, file = 'config.toml', text, says, hint } of [
    {
        name: 'no TOML: the line and the column',
        text: '[drivers]\n\nspacingMs = = 5\n',
        says: /\/config\.toml:3:13: .*\(ERR_CONFIG\)/,
        hint: /config --help/,
    },
    { name: 'no text', text: '\u0000\u0001', says: /config\.toml:1:1: .*\(ERR_CONFIG\)/, hint: /config --help/ },
    {
        name: 'a setting that there is not',
        file: 'config.d/a.toml',
        text: '[drivers]\nspacing = 5\n',
        says: /\/config\.d\/a\.toml: unknown setting drivers\.spacing /,
        hint: /settings of \[drivers\]: spacingMs/,
    },
    {
        name: 'a section that there is not',
        text: '[driver]\nspacingMs = 5\n',
        says: /unknown section \[driver\]/,
        hint: /sections: \[drivers\], /,
    },
    {
        name: 'a setting outside of its section',
        text: 'spacingMs = 5\n',
        says: /unknown section \[spacingMs\]/,
        hint: /sections: \[drivers\], /,
    },
    {
        name: 'a property of every object',
        text: '[drivers]\nconstructor = 5\n',
        says: /unknown setting drivers\.constructor/,
        hint: /settings of \[drivers\]: spacingMs/,
    },
    {
        name: 'a value of another type',
        text: '[drivers]\nspacingMs = "5"\n',
        says: /drivers\.spacingMs: Invalid input: expected number/,
        hint: /pause between two requests/,
    },
    {
        name: 'a value out of its range',
        text: '[drivers]\nspacingMs = -1\n',
        says: /drivers\.spacingMs: Too small/,
        hint: /pause between two requests/,
    },
    {
        name: 'a setting twice',
        text: '[drivers]\nspacingMs = 1\nspacingMs = 2\n',
        says: /config\.toml:3:/,
        hint: /config --help/,
    },
])
    test(`refused: ${name}`, async (t) => {
        const ran = await config(folderOf(t, { [file]: text }))
        t.is(ran.code, 2, ran.stderr)
        t.is(ran.stdout, '')
        const [said = '', what = ''] = ran.stderr.split('\n')
        t.regex(said, says)
        t.regex(what, hint)
    })

test('refused: a file that is a link, and what another command says of it', async (t) => {
    const folder = folderOf(t, { real: '[drivers]\nspacingMs = 1\n' })
    symlinkSync(join(folder, 'real'), join(folder, 'config.toml'))
    for (const command of ['config', 'detect']) {
        const { code, stderr } = await guestAttest([command], { env: { GUEST_ATTEST_CONFIG: folder } })
        t.is(code, 1)
        t.regex(stderr, /config\.toml is a symbolic link.*\(ERR_UNTRUSTED_FILE\)/)
    }
})
