// `emulate` as a person types it: what is refused before the command runs, and what the command gets of the words, the
// folder of the vendor, and the exit status.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryFolder } from '#test/folder.ts'
import { needs } from '../needs.ts'
import { emulatedGuest, GUEST_NEEDS, hurriedConfig } from './inside.ts'
import { guestAttest, MAIN } from './run.ts'

const possible = needs(...GUEST_NEEDS)

const folder = temporaryFolder({ teardown: test.after.always })
const config = hurriedConfig(folder)
const file = (name: string, text = ''): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
}
const vendor = join(folder, 'vendor')
const ONE_CHIP = ['--trust-dir', vendor, '--generation', 'turin']

const emulate = (options: readonly string[], command: readonly string[]) => emulatedGuest(options, config)(command)

test.before(async () => {
    if (GUEST_NEEDS.every(({ met }) => met)) await emulate(ONE_CHIP, ['true'])
})

const script = (name: string, text: string): string[] => [...ONE_CHIP, '--faults', file(`${name}.toml`, text)]

// The command leaves a trace where it runs.

for (const { name, options, code = 2, says } of [
    {
        name: 'a measurement of 47 bytes',
        options: [...ONE_CHIP, '--measurement', '00'.repeat(47)],
        says: /--measurement: expected 48 bytes, got 47/,
    },
    { name: 'half a byte', options: ['--host-data', '0'], says: /--host-data: expected hex digits, two for each byte/ },
    {
        name: 'host data of 33 bytes',
        options: [...ONE_CHIP, '--host-data', '00'.repeat(33)],
        says: /--host-data: expected 32 bytes, got 33/,
    },
    {
        name: 'a policy that no firmware launches',
        options: [...ONE_CHIP, '--policy', '0x10000'],
        says: /--policy 0x10000: bit 17 must be one/,
    },
    { name: 'a policy of 17 digits', options: ['--policy', '1'.repeat(17)], says: /--policy: expected up to 16 hex/ },
    {
        name: 'a level that there is not',
        options: [...ONE_CHIP, '--vmpl', '4'],
        says: /--vmpl: expected 0 to 3, got 4/,
    },
    { name: 'a level that is no number', options: ['--vmpl', 'one'], says: /--vmpl: expected a whole number/ },
    {
        name: "another generation than the folder's",
        options: ['--trust-dir', vendor, '--generation', 'milan'],
        says: /--generation milan: the chip of .*vendor is a turin[\s\S]*hint: .*a folder of its own/,
    },
    {
        name: 'a folder of somebody else',
        options: ['--trust-dir', folder],
        says: /holds other files, and no emulated vendor[\s\S]*hint: name a folder that is empty/,
    },
    {
        name: 'a folder below a file',
        options: ['--trust-dir', join(file('plain'), 'x')],
        says: /--trust-dir .*plain\/x: a file stands where a folder was expected \(ERR_FILE_KIND\)/,
    },
    {
        name: 'a script that is no TOML',
        options: script('syntax', '[[fault]]\nkind = die\n'),
        says: /syntax\.toml:2:8: .*\(ERR_CONFIG\)/,
    },
    {
        name: 'a script without a fault',
        options: script('empty', ''),
        says: /empty\.toml: fault: .*\(ERR_EMULATOR_FAULTS\)[\s\S]*hint: a script of faults is a list of \[\[fault\]\]/,
    },
    {
        name: 'a fault that there is not',
        options: script('kind', '[[fault]]\nkind = "explode"\n'),
        says: /got "explode" \(ERR_EMULATOR_FAULTS\)/,
    },
    {
        name: 'a request that there is not',
        options: script('request', '[[fault]]\non = "getQuote"\nkind = "die"\n'),
        says: /fault 1 \(die\): on: .*"getReport".*\(ERR_EMULATOR_FAULTS\)/,
    },
    {
        name: 'a fault without what it needs',
        options: script('status', '[[fault]]\nkind = "firmware-status"\n'),
        says: /fault 1 \(firmware-status\): status.*\(ERR_EMULATOR_FAULTS\)/,
    },
    { name: 'a script that is a folder', options: [...ONE_CHIP, '--faults', folder], code: 2, says: /is a folder/ },
])
    possible(`refused: ${name}`, async (t) => {
        const trace = join(temporaryFolder(t), 'trace')
        const ran = await emulate(options, ['touch', trace])
        t.is(ran.code, code, ran.stderr)
        t.is(ran.stdout, '')
        t.regex(ran.stderr, says)
        t.false(existsSync(trace))
    })

test('refused: the server, without a supervisor', async (t) => {
    for (const command of [[], ['--', 'true']]) {
        const ran = await guestAttest(['emulate', '--tee', 'snp', '--server', ...command])
        t.is(ran.code, 2, ran.stderr)
        t.regex(ran.stderr, /^guest-attest: --server: .*nobody else can start it \(ERR_USAGE\)\n {2}hint: leave it out/)
    }
})

const WORDS = ['007', '0x10', '1e3', '', 'a b', '--help', '--tee', 'x', '--', '-', '$HOME', '--no-such-option=1', '*']

possible('the words of the command stay as they are', async (t) => {
    const ran = await emulate(ONE_CHIP, ['printf', '%s\\n', ...WORDS])
    t.is(ran.code, 0, ran.stderr)
    t.is(ran.stdout, WORDS.map((word) => `${word}\n`).join(''))
})

possible('its environment, too', async (t) => {
    // Names that whoever prepares the guest could use as well.
    const names = 'who become server scratch covered old new entry place folder missing ready word status pid rest'
    const mine = Object.fromEntries(names.split(' ').map((name) => [name, `mine: ${name}`]))
    const ran = await emulatedGuest(ONE_CHIP, config, mine)(['env'])
    t.is(ran.code, 0, ran.stderr)
    const lines = ran.stdout.split('\n')
    for (const [name, value] of Object.entries(mine)) t.true(lines.includes(`${name}=${value}`), name)
    t.false(lines.some((line) => /^(?:scratch|pid|begin|prepare)=(?!mine)/.test(line)))
})

for (const { name, command, code, says = /is emulated here: what it says proves nothing\n$/ } of [
    { name: 'its own', command: ['sh', '-c', 'exit 42'], code: 42 },
    {
        name: 'that of this program inside',
        command: [process.execPath, MAIN, 'verify', '/dev/null', '--at', 'soon'],
        code: 2,
        says: /ERR_USAGE/,
    },
    { name: 'no such program', command: ['/nowhere/program'], code: 127, says: /^guest-attest: .*\/nowhere\/program/m },
    {
        name: 'no such program on PATH',
        command: ['nosuchcommand'],
        code: 127,
        says: /^guest-attest: there is no program nosuchcommand$/m,
    },
    { name: 'not a program', command: [file('text', 'text')], code: 126, says: /^guest-attest: .*\/text/m },
])
    possible(`exit status: ${name}`, async (t) => {
        const ran = await emulate(ONE_CHIP, command)
        t.is(ran.code, code, ran.stderr)
        t.is(ran.stdout, '')
        t.regex(ran.stderr, says)
    })

possible('--trust-dir: what a verifier needs, for all; the keys, for nobody else; and used again', async (t) => {
    const contents = () =>
        ['.', 'private'].flatMap((sub) =>
            readdirSync(join(vendor, sub)).map((name) => {
                const path = join(vendor, sub, name)
                const stat = statSync(path)
                const mode = (stat.mode & 0o777).toString(8)
                return `${mode} ${join(sub, name)} ${stat.isFile() ? readFileSync(path, 'base64') : ''}`
            }),
        )
    const before = contents()
    t.deepEqual(
        before.map((line) => line.split(' ').slice(0, 2).join(' ')),
        [
            '644 ark.pem',
            '644 ask.pem',
            '644 crl.der',
            '700 private',
            '644 vcek.pem',
            '600 private/ark.key',
            '600 private/ask.key',
            '600 private/chip.json',
            '600 private/vcek.key',
        ],
    )
    const ran = await emulate(['--trust-dir', vendor], [process.execPath, MAIN, 'detect'])
    t.is(ran.code, 0, ran.stderr)
    t.regex(ran.stderr, /AMD SEV-SNP \(Turin, report version 5, VMPL 0\) is emulated here/)
    t.deepEqual(contents(), before)
})
