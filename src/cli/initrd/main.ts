// The program of the initrd: the clevis pins, the key socket, the keyscript and what looks at a disk, under the name that it
// is called by. It takes words alone, and nothing from its environment but what the service manager hands to a service.
// SPDX-License-Identifier: Apache-2.0

import { basename } from 'node:path'
import { AttestError, coreError, messageOf } from '#core/errors.ts'
import { kernelSink, lineLogger, stderrIsKernelLog, stderrSink } from '#core/log.ts'
import { DECRYPT_PIN, ENCRYPT_PIN, SEV_DECRYPT_PIN, SEV_ENCRYPT_PIN } from '../clevis/pins.ts'
import { startPin } from '../clevis/start.ts'
import { key, keySocketOf, open, volumes } from './front-ends.ts'
import { check } from './luks.ts'
import { wipeSecrets } from './secrets.ts'

export const INITRD_PROGRAM = 'guest-attest-initrd'

type Run = (args: readonly string[]) => number | Promise<number>

/** Each command, its words, and what it does. */
const COMMANDS: Readonly<Record<string, { readonly words: string; readonly does: string; readonly run: Run }>> = {
    volumes: { words: '', does: 'the volume table, one line a volume, for scripts', run: volumes },
    key: { words: 'NAME', does: 'the passphrase of a volume to standard output (crypttab keyscript)', run: key },
    'key-socket': { words: 'NAME', does: 'serve it to systemd-cryptsetup (a systemd service)', run: keySocketOf },
    'luks-check': { words: 'DEVICE [UUID]', does: 'may this disk header be opened', run: check },
    'wipe-secrets': { words: '', does: 'wipe the injected secrets that opened volumes', run: wipeSecrets },
    'luks-open': { words: 'NAME', does: 'open a volume as /dev/mapper/NAME, by hand', run: open },
}

const PINS = [DECRYPT_PIN, ENCRYPT_PIN, SEV_DECRYPT_PIN, SEV_ENCRYPT_PIN]

const usage = (): string =>
    [
        `Usage: ${INITRD_PROGRAM} COMMAND …`,
        ...Object.entries(COMMANDS).map(([name, { words, does }]) => `  ${`${name} ${words}`.padEnd(28)}${does}`),
    ].join('\n')

async function main([name, ...args]: readonly string[]): Promise<number> {
    const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
    if (name === '--help' || name === 'help') {
        process.stdout.write(`${usage()}\n`)
        return 0
    }
    const log = lineLogger(INITRD_PROGRAM, stderrIsKernelLog() ? [kernelSink] : [stderrSink, kernelSink])
    try {
        if (!command) throw coreError('ERR_USAGE', name === undefined ? 'a command is missing' : `unknown: ${name}`)
        return await command.run(args)
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        log.error(`${messageOf(error)} (${error.code})`)
        if (error.hint) log.error(`hint: ${error.hint}`)
        if (error.code === 'ERR_USAGE') process.stderr.write(`${usage()}\n`)
        return error.exit
    }
}

const pin = PINS.find(({ name }) => name === basename(process.argv0))
if (pin) startPin(pin)
else void main(process.argv.slice(2)).then((code) => process.exit(code))
