// `registers extend`: measures something into a register of this guest, until it is restarted.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import type { MeasurementRegister } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { type Args, command as define, JSON_OPTION } from '../command.ts'
import { GUEST_OPTIONS } from '../guest.ts'
import { readHex } from '../options/bytes.ts'
import { print, printJson } from '../term.ts'
import { registerJson, withRegisters } from './registers.ts'

/** What firmware and boot loader measure: sets of reference values name them, and disk keys depend on them. */
const FIRMWARE_REGISTERS: readonly string[] = ['rtmr0', 'rtmr1']

/** Largest file that is measured. */
const MAX_FILE = 256 * 1024 * 1024

const OPTIONS = {
    tee: GUEST_OPTIONS.tee,
    digest: { type: 'string', describe: 'the digest to extend it with, in hex' },
    file: { type: 'string', describe: 'the digest of what this file holds; - is standard input' },
    'insecure-firmware-register': {
        type: 'boolean',
        default: false,
        describe: 'extend rtmr0 or rtmr1 all the same: they are what firmware and kernel have measured',
    },
    ...JSON_OPTION,
} as const

export const command = define({
    positionals: { name: 'the register: rtmr2 is for the system, rtmr3 for applications (TDX)' },
    options: OPTIONS,
    examples: [
        ['rtmr3 --file /etc/app/config.json', 'measure a file before it is used'],
        ['rtmr3 --digest 5e7a… --json', 'a digest that was made elsewhere'],
    ],
    details:
        'The new value is the hash of the old one and the digest behind it. Nothing takes it back but a restart of the ' +
        'guest, and a disk key that is bound to the register is not released any more afterwards. Nothing is written to an ' +
        'event log: whoever verifies the register must know what was extended, and in which order, and proofs with ' +
        '`evidence --event-log` are refused from then on, because the log does not lead to the register any more.',
    async run(args) {
        const name = String(args['name'])
        if ((args.digest === undefined) === (args.file === undefined))
            throw coreError('ERR_USAGE', 'name what to extend it with: one of --digest, --file')
        if (FIRMWARE_REGISTERS.includes(name) && !args.insecureFirmwareRegister)
            throw coreError(
                'ERR_USAGE',
                `${name} belongs to the firmware: until the next start nothing gives its value back`,
                {
                    hint: 'rtmr2 and rtmr3 are for the system and its applications; a disk key that is bound to it is lost until then; --insecure-firmware-register extends it all the same',
                },
            )
        const given = args.digest === undefined ? undefined : readHex(args.digest, '--digest')
        const { digest, after } = await withRegisters({ tee: args.tee }, async (registers) => {
            const before = find(await registers.read(), name)
            const digest = given ?? digestOf(args, before)
            await registers.extend(name, digest)
            return { digest, after: find(await registers.read(), name) }
        })
        if (args.json) printJson({ ...registerJson(after), extendedWith: toHex(digest) })
        else print(`${name} ${toHex(after.value)}`)
        return 0
    },
})

function find(all: readonly MeasurementRegister[], name: string): MeasurementRegister {
    const register = all.find((one) => one.name === name)
    if (register) return register
    throw driverError('ERR_REGISTER', `no register is called ${JSON.stringify(name)}`, {
        hint: `there are ${all.map((one) => one.name).join(', ')}`,
    })
}

function digestOf({ file = '' }: Args<typeof OPTIONS>, { name, algorithm }: MeasurementRegister): Buffer {
    if (algorithm === null) throw driverError('ERR_REGISTER', `${name} is no digest: nothing can be measured into it`)
    return createHash(algorithm).update(readInput(file, MAX_FILE)).digest()
}
