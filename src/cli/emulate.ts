// `emulate`: runs a command in a guest that is none, at the kernel's own interfaces.
// SPDX-License-Identifier: Apache-2.0

import { isSea } from 'node:sea'
import { coreError } from '#core/errors.ts'
import type { EmulatorOptions } from '#emulator/model.ts'
import { PLUGINS } from '#plugins.ts'
import { type Args, command as define } from './command.ts'
import { note, progress } from './term.ts'

const EMULATORS = PLUGINS.filter(({ emulator }) => emulator)

const OPTIONS = {
    tee: { type: 'string', demandOption: true, choices: EMULATORS.map(({ id }) => id), describe: 'the technology' },
    measurement: { type: 'string', describe: 'the launch measurement that it reports (hex)' },
    'host-data': { type: 'string', describe: 'what the host has bound to the launch (hex)' },
    policy: { type: 'string', describe: "the guest's policy, as a number in hex" },
    vmpl: { type: 'number', describe: "the privilege level of the guest's kernel: 0 to 3" },
    generation: { type: 'string', describe: 'the processor: milan, genoa or turin' },
    'trust-dir': {
        type: 'string',
        describe: "a folder for the emulated vendor's keys and certificates: it is used again if it holds some",
    },
    faults: { type: 'string', describe: 'a script of faults (TOML), see below' },
    server: { type: 'boolean', default: false, hidden: true },
} as const

const DETAILS = [
    'The command finds /dev/sev-guest and /sys/kernel/config/tsm/report, and a /run/guest-attest of its own; outside, nothing is seen of them. It needs /dev/fuse, and root or user namespaces; who is not root is root inside. When the command ends, whatever it left running ends with it. The exit status is the command\u2019s.',
    'The device proves nothing: its keys are made here and carry a mark that `verify` prints. With --trust-dir DIR, DIR/ark.pem is the root that a verifier can be told to trust (--trust-root), beside ask.pem, vcek.pem and crl.der.',
    `A script of faults:
  [[fault]]
  on = "getReport"    # or getExtReport, getDerivedKey, configfs; any request unless told
  at = 2              # the second such request; every one unless told
  times = 3           # that one and the two after it; one unless told, where at stands
  kind = "firmware-status"
  status = 0x16
Kinds, with what they need: ${[
        'busy (ms)',
        'timeout (ms)',
        'short-buffer (size)',
        'no-certificates',
        'firmware-status (status)',
        'firmware-error (status)',
        'vmm-status (status)',
        'key-lost-on-burst (more, withinMs)',
        'wrong-nonce',
        'bad-signature',
        'generation-race',
        'errno (errno)',
        'delay (ms)',
        'die',
    ].join(', ')}.`,
].join('\n\n')

export const command = define({
    options: OPTIONS,
    examples: [
        ['--tee snp --trust-dir /tmp/vendor -- guest-attest detect', 'what a guest says of itself'],
        ['--tee snp --vmpl 1 --faults busy.toml -- bash', 'a shell in a guest whose host throttles'],
    ],
    details: DETAILS,
    takesWords: true,
    async run(args) {
        const options = readOptions(args)
        const emulator = EMULATORS.find(({ id }) => id === args.tee)?.emulator
        if (!emulator) throw coreError('ERR_USAGE', `--tee ${args.tee}: cannot be emulated`)
        // Each half loads what it needs alone: both are started for every command.
        if (args.server) {
            await (await import('./emulate-server.ts')).runServer(emulator, options, args.faults)
            return 0
        }
        const command = args['--'] ?? []
        if (command.length === 0)
            throw coreError('ERR_USAGE', 'no command was given', {
                hint: 'it follows behind --: emulate --tee snp -- COMMAND',
            })
        const { supervise } = await import('#emulator/supervise.ts')
        // Any status from 0 to 255: it is the command's, not this program's.
        return supervise({ server: serverCommand(), command, note })
    },
})

type Options = Args<typeof OPTIONS>

function readOptions({ measurement, hostData, policy, vmpl, generation, trustDir }: Options): EmulatorOptions {
    return {
        ...(measurement !== undefined && { measurement: readBytes(measurement, '--measurement') }),
        ...(hostData !== undefined && { hostData: readBytes(hostData, '--host-data') }),
        ...(policy !== undefined && { policy: readNumber(policy, '--policy') }),
        ...(vmpl !== undefined && { vmpl }),
        ...(generation !== undefined && { generation }),
        ...(trustDir !== undefined && { trustDir }),
        now: new Date(),
        progress,
    }
}

function readBytes(text: string, option: string): Buffer {
    if (/^(?:[0-9a-f]{2})+$/i.test(text)) return Buffer.from(text, 'hex')
    throw coreError('ERR_USAGE', `${option}: expected hex digits, two for each byte`)
}

function readNumber(text: string, option: string): bigint {
    const [, hex] = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text) ?? []
    if (hex) return BigInt(`0x${hex}`)
    throw coreError('ERR_USAGE', `${option}: expected up to 16 hex digits, got ${JSON.stringify(text)}`)
}

// This program again, with the same options, as the server.
function serverCommand(): string[] {
    const words = process.argv.slice(2)
    const end = words.indexOf('--')
    const script = process.argv[1] ?? ''
    const self = isSea() ? [process.execPath] : [process.execPath, ...process.execArgv, script]
    return [...self, ...words.slice(0, end < 0 ? words.length : end), '--server']
}
