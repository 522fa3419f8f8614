// The kernel command line, before a strict volume opens: words that would hand the console or the root file system to
// whoever wrote them. Where the command line is measured, other words are another measurement; where it is not, the host
// chooses the initrd too, and this is no more than the second lock on a door.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { unlockError } from './errors.ts'
import type { Volume } from './volumes.ts'

/** Words by their name, the part before `=`; and what somebody gains by them. */
const SURRENDERS: Readonly<Record<string, string>> = {
    init: 'names the program that runs in the opened root',
    rdinit: 'names the program that runs instead of this initrd',
    'rd.break': 'stops for a shell',
    'rd.shell': 'leads to a shell',
    'rd.debug': 'prints what scripts do on the console',
    'rd.hook': 'adds hooks',
    break: 'stops for a shell',
    debug: 'keeps logs of what scripts do',
    netconsole: 'sends the kernel’s log to the network',
    single: 'leads to a shell',
    s: 'leads to a shell',
    S: 'leads to a shell',
    '1': 'leads to a shell',
    emergency: 'leads to a shell',
    rescue: 'leads to a shell',
    '-b': 'leads to a shell',
    '-s': 'leads to a shell',
    'systemd.unit': 'names what starts',
    'rd.systemd.unit': 'names what starts',
    'systemd.debug_shell': 'opens a shell',
    'systemd.debug-shell': 'opens a shell',
    'rd.systemd.debug_shell': 'opens a shell',
    'rd.systemd.debug-shell': 'opens a shell',
    'systemd.crash_shell': 'leads to a shell',
    'systemd.run': 'runs a command',
    'systemd.mask': 'takes units away',
    'systemd.wants': 'adds units',
    'rd.systemd.mask': 'takes units away',
    'rd.systemd.wants': 'adds units',
    'systemd.setenv': 'changes the environment of every service',
    'systemd.set_credential': 'gives services data as if it were configuration',
    'systemd.set_credential_binary': 'gives services data as if it were configuration',
    'systemd.import_credentials': 'takes data from outside as if it were configuration',
    'systemd.sysext': 'lays programs over the system',
    'systemd.confext': 'lays configuration over the system',
    'systemd.volatile': 'replaces the root',
    usr: 'mounts programs from elsewhere',
    'mount.usr': 'mounts programs from elsewhere',
    'systemd.verity': 'replaces the root',
    overlayroot: 'replaces the root',
    cryptopts: 'opens another volume',
    cryptdevice: 'opens another volume',
}

/** The same for words that begin so. */
const SURRENDERING_FAMILIES: Readonly<Record<string, string>> = {
    'rd.luks.key': 'names another key',
    'luks.key': 'names another key',
    'rd.luks.data': 'names another disk',
    'luks.data': 'names another disk',
    'systemd.mount-extra': 'mounts what it names',
    'rd.systemd.mount-extra': 'mounts what it names',
    'systemd.extra-unit': 'adds units',
    'rd.systemd.extra-unit': 'adds units',
    'systemd.set_credential': 'gives services data as if it were configuration',
    'rd.systemd.run': 'runs a command',
    'systemd.run': 'runs a command',
    'mount.usr': 'mounts programs from elsewhere',
}

/** @throws AttestError ERR_UNLOCK_COMMAND_LINE naming the word */
export function checkCommandLine(volume: Volume, read = readCommandLine): void {
    for (const word of wordsOf(read())) {
        const why = surrenders(word, volume)
        if (why === null) continue
        throw unlockError('ERR_UNLOCK_COMMAND_LINE', `the kernel command line has ${shown(word)}, which ${why}`, {
            hint: 'boot without it; where it is needed, the profile compat does not look at the command line',
        })
    }
}

function surrenders(word: string, volume: Volume): string | null {
    const [name = '', ...rest] = word.split('=')
    const value = rest.join('=')
    // dracut and systemd take `_` for `-` in names.
    const plain = name.replaceAll('_', '-')
    if (volume.root && name === 'root' && value !== `/dev/mapper/${volume.name}`)
        return `is not the mapping of this volume (root=/dev/mapper/${volume.name})`
    for (const known of [name, plain]) if (Object.hasOwn(SURRENDERS, known)) return SURRENDERS[known] as string
    const family = Object.keys(SURRENDERING_FAMILIES).find((prefix) => word.startsWith(prefix))
    return family ? (SURRENDERING_FAMILIES[family] as string) : null
}

/** Those behind `--` too, which are the init program's. Quotes keep blanks in a word, as the kernel reads them. */
const wordsOf = (line: string): string[] =>
    (line.match(/(?:"[^"]*"|[^\s"])+/g) ?? []).map((word) => word.replaceAll('"', '')).filter((word) => word !== '--')

const shown = (word: string): string => JSON.stringify(word.length > 80 ? `${word.slice(0, 80)}…` : word)

const readCommandLine = (): string => readFileSync('/proc/cmdline', 'latin1')
