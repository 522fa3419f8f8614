// The tables of the manual that say how the options of other programs are called here: each row against our options, and
// each way to say what is launched against the others.
// SPDX-License-Identifier: Apache-2.0

import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import type { Command, CommandRow } from '#cli/command.ts'
import { COMMANDS } from '#cli/commands.ts'
import { encodeReport, parseReport } from '#plugins/snp/report.ts'
import { temporaryFolder } from '#test/folder.ts'
import { firmware } from '../core/launch/firmware.ts'
import { guestAttest } from './run.ts'

/** `sev …` and `measure …`, by their names. */
const options = new Map<string, Command['options']>()

async function gather(rows: readonly CommandRow[], prefix: string): Promise<void> {
    for (const { signature, load } of rows) {
        const name = `${prefix}${signature.split(' ')[0]}`
        if (!/^(?:sev|measure)\b/.test(name)) continue
        const loaded = await load()
        if ('group' in loaded) await gather(loaded.group, `${name} `)
        else options.set(name, loaded.command.options)
    }
}

await gather(COMMANDS, '')

/** The rows of the tables behind a heading: their cells. */
function rowsBehind(file: string, heading: RegExp): string[][] {
    const text = readFileSync(fileURLToPath(new URL(`../../docs/${file}`, import.meta.url)), 'utf8')
    const from = text.search(heading)
    return text
        .slice(from)
        .split('\n')
        .filter((line) => line.startsWith('|') && !/^\| -/.test(line))
        .map((line) => line.slice(1, -1).split('|'))
}

for (const { file, heading, column, least } of [
    { file: 'measure.md', heading: /^## Coming from another tool/m, column: 0, least: 16 },
    { file: 'sev.md', heading: /^## Options of other programs/m, column: 1, least: 27 },
])
    test(`${file}: every option that is named is one of the command that is named`, (t) => {
        const rows = rowsBehind(file, heading)
        t.true(rows.length >= least, `${rows.length} rows`)
        for (const cells of rows) {
            const cell = (cells[column] ?? '').replaceAll('`', '')
            const named = [...options.keys()].filter((name) => new RegExp(`\\b${name}(?![-\\w])`).test(cell))
            const among = named.length > 0 ? named : [...options.keys()]
            for (const [option] of cell.matchAll(/--[a-z0-9][a-z0-9-]*/g))
                t.true(
                    among.some((name) => Object.hasOwn(options.get(name) ?? {}, option.slice(2))),
                    `${cell.trim()}: no ${option}`,
                )
        }
    })

const folder = temporaryFolder({ teardown: test.after.always })
const file = (name: string, bytes: Uint8Array | string): string => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
}

const FIRMWARE = ['--firmware', file('fw', firmware())]
const MILAN = ['--vcpu-type', 'EPYC-Milan']
const BY_NUMBERS = ['--cpu-family', '25', '--cpu-model', '1', '--cpu-stepping', '1']

async function digest(...words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await guestAttest(['measure', ...words])
    if (code !== 0) throw new Error(`${words.join(' ')}: ${stderr}`)
    return stdout.split('\n')[0] ?? ''
}

for (const { name, words, same } of [
    { name: '--vcpu-sig', words: ['snp', '--vcpu-sig', '0xa00f11'], same: ['snp', ...MILAN] },
    { name: '--cpu-family, -model, -stepping', words: ['snp', ...BY_NUMBERS], same: ['snp', ...MILAN] },
    {
        name: '--vmm, --profile, --guest-features as they are unless told',
        words: ['snp', ...MILAN, '--vmm', 'QEMU', '--profile', 'kvm-init2', '--guest-features', '1', '--vcpus', '1'],
        same: ['snp', ...MILAN],
    },
    {
        name: '--profile of SEV-ES unless told',
        words: ['sev-es', ...MILAN, '--profile', 'kvm-init2', '--guest-features', '0'],
        same: ['sev-es', ...MILAN],
    },
    {
        name: 'debug swap is a feature',
        words: ['sev-es', ...MILAN, '--profile', 'kvm-legacy', '--guest-features', '0x20'],
        same: ['sev-es', ...MILAN, '--profile', 'kvm-legacy+debugswap'],
    },
])
    test(`one launch, said in two ways: ${name}`, async (t) => {
        const [one, other] = await Promise.all([digest(...words, ...FIRMWARE), digest(...same, ...FIRMWARE)])
        t.is(one, other)
    })

test('--as-firmware-hash, --firmware-hash: the same digest from the end of the image', async (t) => {
    const hash = await digest('snp', '--as-firmware-hash', ...FIRMWARE)
    t.is(
        await digest('snp', ...MILAN, '--firmware-hash', hash, ...FIRMWARE),
        await digest('snp', ...MILAN, ...FIRMWARE),
    )
})

test('--dump-vmsa, --vmsa: pages that are written and read again', async (t) => {
    for (const tee of ['snp', 'sev-es']) {
        const pages = join(folder, tee)
        const wanted = await digest(tee, ...MILAN, '--vcpus', '3', '--dump-vmsa', pages, ...FIRMWARE)
        const files = [0, 1].flatMap((cpu) => ['--vmsa', join(pages, `vmsa${cpu}.bin`)])
        t.is(await digest(tee, '--vcpus', '3', ...files, ...FIRMWARE), wanted)
        rmSync(join(pages, 'vmsa0.bin'))
        const again = await guestAttest(['measure', tee, ...MILAN, '--vcpus', '3', '--dump-vmsa', pages, ...FIRMWARE])
        t.is(again.code, 2)
        t.regex(again.stderr, /--dump-vmsa: \S+vmsa1\.bin is there already/)
        t.false(existsSync(join(pages, 'vmsa0.bin')), 'nothing is written')
    }
})

test('--match: a digest in hex, a report; what differs; nothing', async (t) => {
    const wanted = await digest('snp', ...MILAN, '--vcpus', '8', '--guest-features', '0x21', ...FIRMWARE)
    const blank = Buffer.alloc(1184)
    blank.writeUInt32LE(2)
    const report = file('report', encodeReport({ ...parseReport(blank), measurement: Buffer.from(wanted, 'hex') }))
    for (const match of [wanted, report]) {
        const { code, stdout, stderr } = await guestAttest([
            'measure',
            'snp',
            ...MILAN,
            '--vcpus',
            '4',
            '--match',
            match,
            ...FIRMWARE,
        ])
        t.is(code, 0, stderr)
        t.regex(stdout, /^vcpus +8 +not as given$/m)
        t.regex(stdout, /^guest-features +0x21/m)
    }
    const none = await guestAttest(['measure', 'sev-es', ...MILAN, '--match', 'ab'.repeat(32), ...FIRMWARE])
    t.is(none.code, 1, none.stderr)
})

test('--id-key, --author-key, --id-block, --id-auth, --digest', async (t) => {
    const key = (name: string) =>
        file(
            name,
            generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
        )
    const keys = ['--id-key', key('id.pem'), '--author-key', key('author.pem')]
    const wanted = await digest('snp', ...MILAN, ...FIRMWARE)
    const blocks = await Promise.all(
        [
            ['measure', 'snp', ...MILAN, ...FIRMWARE, ...keys],
            ['measure', 'snp', '--digest', wanted, ...keys],
        ].map(async (words) => {
            const { code, stdout, stderr } = await guestAttest(words)
            t.is(code, 0, stderr)
            return new Map([...stdout.matchAll(/^([\w-]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]))
        }),
    )
    const [first, second] = blocks
    t.is(first?.get('id-block'), second?.get('id-block'))
    const made = [
        ...['--id-block', file('block', first?.get('id-block') ?? '')],
        ...['--id-auth', file('auth', first?.get('id-auth') ?? '')],
    ]
    t.is(await digest('snp', ...made), wanted)
    t.is(await digest('snp', ...MILAN, ...FIRMWARE, ...made), wanted)
    t.is((await guestAttest(['measure', 'snp', ...MILAN, '--vcpus', '2', ...FIRMWARE, ...made])).code, 1)
})
