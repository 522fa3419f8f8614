// Options of `emulate` among technologies: whose each is, and what of them a technology is given.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { detailsOf } from '#cli/command.ts'
import { emulateCommand } from '#cli/emulate/emulate.ts'
import { type Emulated, emulatedOf, optionTable, readEmulatorOptions } from '#cli/emulate/options.ts'
import { COMMON_FAULTS } from '#emulator/faults.ts'
import type { OptionRows } from '#emulator/model.ts'
import { PLUGINS } from '#plugins.ts'

const toy = (id: string, options: OptionRows): Emulated => ({
    id,
    title: id.toUpperCase(),
    emulator: {
        options,
        details: '',
        examples: [],
        faults: async () => ({}),
        model: async () => ({ title: id, devices: {} }),
    },
})

const one = toy('one', {
    measurement: { type: 'bytes', describe: 'what was launched' },
    hostWord: { type: 'word', describe: 'a word of the host' },
    level: { type: 'number', describe: 'its level' },
})
const two = toy('two', {
    measurement: { type: 'bytes', describe: 'the same' },
    keyFolder: { type: 'text', describe: 'its folder' },
})
const both = [one, two]

test('each option says whose it is', (t) => {
    t.deepEqual(optionTable(both), {
        measurement: { type: 'string', describe: 'one, two: what was launched' },
        'host-word': { type: 'string', describe: 'one: a word of the host' },
        level: { type: 'number', describe: 'one: its level' },
        'key-folder': { type: 'string', describe: 'two: its folder' },
    })
})

test('a technology gets its options as what they are, and nothing else', (t) => {
    const given = { measurement: '00ff', hostWord: '0x10', level: 3, keyFolder: undefined, tee: 'one', faults: 'x' }
    t.deepEqual(readEmulatorOptions(given, one, both), { measurement: Buffer.of(0, 255), hostWord: 16n, level: 3 })
    t.deepEqual(readEmulatorOptions({ keyFolder: '007' }, two, both), { keyFolder: '007' })
    t.deepEqual(readEmulatorOptions({}, two, both), {})
})

for (const { name, given, of, message } of [
    {
        name: 'an option of another technology',
        given: { hostWord: '1' },
        of: two,
        message: /^--host-word is an option of ONE, not of TWO$/,
    },
    { name: 'half a byte', given: { measurement: '0' }, of: one, message: /^--measurement: expected hex digits/ },
    {
        name: '65 bits',
        given: { hostWord: '1'.repeat(17) },
        of: one,
        message: /^--host-word: expected up to 16 hex digits/,
    },
])
    test(`refused: ${name}`, (t) =>
        void t.throws(() => readEmulatorOptions(given, of, both), { code: 'ERR_USAGE', message }))

test('of the technologies: --help says everything; an option that several have has one type', async (t) => {
    const emulated = await emulatedOf(PLUGINS)
    const types = new Map<string, string>()
    const details = String(await detailsOf(await emulateCommand()))
    for (const kind of Object.keys(COMMON_FAULTS)) t.regex(details, new RegExp(`^ {2}${kind}[ :]`, 'm'))
    for (const { title, emulator } of emulated) {
        t.true(details.includes(`${title}: ${emulator.details}`))
        for (const [kind, { means }] of Object.entries(await emulator.faults())) {
            t.regex(details, new RegExp(`^ {2}${kind}(?: \\(\\w+(?:, \\w+)*\\))?: `, 'm'))
            t.true(details.includes(`: ${means}`))
        }
        for (const [name, { type }] of Object.entries(emulator.options)) {
            t.is(types.get(name) ?? type, type, name)
            types.set(name, type)
            t.false(['tee', 'faults', 'server', 'help', 'version'].includes(name), name)
        }
    }
})
