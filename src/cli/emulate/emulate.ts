// `emulate`: runs a command in a guest that is none, at the kernel's own interfaces.
// SPDX-License-Identifier: Apache-2.0

import { isSea } from 'node:sea'
import { coreError } from '#core/errors.ts'
import type { FaultTable } from '#emulator/model.ts'
import { PLUGINS } from '#plugins.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { type Emulated, emulatedOf, optionTable, readEmulatorOptions } from './options.ts'

/** The command; its options are those of the technologies that can be emulated. */
export async function emulateCommand() {
    const all = await emulatedOf(PLUGINS)
    return define({
        options: {
            tee: { type: 'string', demandOption: true, choices: all.map(({ id }) => id), describe: 'the technology' },
            ...optionTable(all),
            faults: { type: 'string', describe: 'a script of faults (TOML), see below' },
            server: { type: 'boolean', default: false, hidden: true },
        },
        examples: all.flatMap(({ id, emulator: { examples } }) =>
            examples.map(([line, what]) => [`--tee ${id} ${line}`, what] as const),
        ),
        details: () => details(all),
        takesWords: 'COMMAND…',
        async run(args) {
            const emulated = all.find(({ id }) => id === args.tee)
            if (!emulated) throw coreError('ERR_USAGE', `--tee ${args.tee}: cannot be emulated`)
            const options = readEmulatorOptions(args, emulated, all)
            // Each half loads what it needs alone: both are started for every command.
            if (args.server) {
                await (await import('./server.ts')).runServer(emulated.emulator, options, args.faults)
                return 0
            }
            const command = args['--'] ?? []
            if (command.length === 0)
                throw coreError('ERR_USAGE', 'no command was given', {
                    hint: `it follows behind --: emulate --tee ${args.tee} -- COMMAND`,
                })
            const { supervise } = await import('#emulator/supervise.ts')
            // Any status from 0 to 255: it is the command's, not this program's.
            return supervise({ server: serverCommand(), command, note })
        },
    })
}

async function details(all: readonly Emulated[]): Promise<string> {
    const { COMMON_FAULTS } = await import('#emulator/faults.ts')
    const own = await Promise.all(
        all.map(async ({ title, emulator }) => `Kinds of ${title}:\n${kinds(await emulator.faults())}`),
    )
    return [
        'The command finds the devices of its guest, and a /run/guest-attest of its own; outside, nothing is seen of them. It needs /dev/fuse, and root or user namespaces; who is not root is root inside. When the command ends, whatever it left running ends with it. The exit status is the command\u2019s.',
        'The devices prove nothing: their keys are made here and carry a mark that `verify` prints.',
        ...all.map(({ title, emulator }) => `${title}: ${emulator.details}`),
        SCRIPT,
        `Kinds of every technology, with what they need:\n${kinds(COMMON_FAULTS)}`,
        ...own,
    ].join('\n\n')
}

const SCRIPT = `A script of faults:
  [[fault]]
  on = "configfs"     # or another request of the technology, see above; any request unless told
  at = 2              # the second such request; every one unless told
  times = 3           # that one and the two after it; one unless told, where at stands
  kind = "errno"
  errno = "EIO"`

const kinds = (table: FaultTable): string =>
    Object.entries(table)
        .map(([kind, { means, params }]) => `  ${[kind, ...parenthesised(Object.keys(params))].join(' ')}: ${means}`)
        .join('\n')

const parenthesised = (names: readonly string[]): string[] => (names.length > 0 ? [`(${names.join(', ')})`] : [])

// This program again, with the same options, as the server.
function serverCommand(): string[] {
    const words = process.argv.slice(2)
    const end = words.indexOf('--')
    const script = process.argv[1] ?? ''
    const self = isSea() ? [process.execPath] : [process.execPath, ...process.execArgv, script]
    return [...self, ...words.slice(0, end < 0 ? words.length : end), '--server']
}
