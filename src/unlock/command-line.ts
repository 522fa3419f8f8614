// The kernel command line, before a strict volume opens: words that would hand the console or the root file system to
// whoever wrote them. Where the command line is measured, other words are another measurement; where it is not, the host
// chooses the initrd too, and this is no more than the second lock on a door.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { unlockError } from './errors.ts'
import type { BootVolume } from './volumes.ts'

const SHELL = 'leads to a shell'
const DEBUGGER = 'opens a debugger on the console'
const ENVIRONMENT = 'is for the environment of what starts'
const ROOT = 'replaces the root'
const UNITS = 'changes what starts'
const VOLUME = 'opens a volume past the table of this guest'

/** What is harmless of the families below. */
const HARMLESS =
    /^(?:BOOT_IMAGE|BOOTIF|rd\.neednet|rd\.udev\.\w+|rd\.(?:info|timeout|retry|driver\.\w+|systemd\.\w*(?:show_status|log)\w*)|systemd\.(?:show_status|status_unit_format|log_\w+|journald\.\w+|default_timeout_start_sec|hostname))$/

/** Says that systemd takes nothing from the firmware and the command line. */
const NO_CREDENTIALS = 'systemd.import_credentials=no'

/** Names of words, the part before `=`, with `-` for `_`; and what somebody gains by them. The first that fits counts. */
const SURRENDERS: readonly (readonly [name: RegExp, why: string])[] = [
    [/^(?:rd)?init$/, 'names the program that runs'],
    [/^(?:break|rd\.break|rd\.shell|rd\.debug|single|emergency|rescue|[sS1-5]|-.+)$/, SHELL],
    [/^(?:debug|netconsole)$/, 'shows what scripts do'],
    [/^(?:kgdb.*|kdb|ekgdboc)$/, DEBUGGER],
    [/^(?:rd\.)?luks(?:\..*)?$/, VOLUME],
    [/^(?:cryptopts|cryptdevice|cryptkey)$/, VOLUME],
    // A mapping of any name and UUID, over any disk.
    [/^dm-mod\.create$/, ROOT],
    [/^(?:overlayroot|nfsroot|boot|fstab|ubi\.mtd|roothash|verityusr|usrhash|root\..*|mount\.usr.*|usr)$/, ROOT],
    [/^(?:resume|resume-offset|resumeflags)$/, 'continues a system that somebody else has saved'],
    [/^(?:rd\.)?systemd\..*(?:debug|crash)-(?:shell|chvt)$/, SHELL],
    [/^(?:rd\.)?systemd\..*$/, UNITS],
    [/^sysctl[./]kernel[./](?:modprobe|core-pattern|hotplug|poweroff-cmd)$/, 'names a program that the kernel runs'],
    [/^rd\..*$/, UNITS],
    [/^[A-Z][A-Z0-9_-]*$/, ENVIRONMENT],
    [/^.*-proxy$/, ENVIRONMENT],
]

/** @throws AttestError ERR_UNLOCK_COMMAND_LINE naming the word */
export function checkCommandLine(volume: BootVolume, read = readCommandLine): void {
    for (const word of wordsOf(read())) {
        const why = surrenders(word, volume)
        if (why === null) continue
        throw unlockError('ERR_UNLOCK_COMMAND_LINE', `the kernel command line has ${shown(word)}, which ${why}`, {
            hint: 'boot without it; where it is needed, the profile compat does not look at the command line',
        })
    }
}

function surrenders(word: string, volume: BootVolume): string | null {
    const [name = '', ...rest] = word.split('=')
    if (volume.root && name === 'root' && rest.join('=') !== `/dev/mapper/${volume.name}`)
        return `is not the mapping of this volume (root=/dev/mapper/${volume.name})`
    if (HARMLESS.test(name) || word === NO_CREDENTIALS) return null
    // systemd takes `_` for `-` in names.
    const plain = name.replaceAll('_', '-')
    return SURRENDERS.find(([pattern]) => pattern.test(plain))?.[1] ?? null
}

/** Those behind `--` too, which are the init program's. Quotes keep blanks in a word, as the kernel reads them. */
const wordsOf = (line: string): string[] =>
    (line.match(/(?:"[^"]*"|[^\s"])+/g) ?? []).map((word) => word.replaceAll('"', '')).filter((word) => word !== '--')

const shown = (word: string): string => JSON.stringify(word.length > 80 ? `${word.slice(0, 80)}…` : word)

const readCommandLine = (): string => readFileSync('/proc/cmdline', 'latin1')
