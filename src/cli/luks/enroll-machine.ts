// The steps of `luks enroll` on this machine, however its volume opens: the volume table, crypttab, the initrd, and what is
// said at the end.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { AttestError, coreError, messageOf } from '#core/errors.ts'
import { makeFolder, readInput, writeFileAtomic } from '#core/files.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { copyWholeHeader } from '#luks/device.ts'
import { metadataOf } from '#luks/metadata.ts'
import { report } from '#luks/report.ts'
import { LAUNCHED, pluginOf } from '#plugins.ts'
import {
    type BootVolume,
    formatVolume,
    isOpenedInInitrd,
    readVolumes,
    VOLUMES_FOLDER,
    volumeFile,
} from '#unlock/volumes.ts'
import { hint, note, print, styled } from '../term.ts'
import { withVolume } from './crypttab.ts'
import { type Builder, rebuild } from './machine.ts'

/** What of it the machine has to know. */
export interface Machine {
    readonly device: string
    readonly volume: BootVolume
    readonly builder: Builder | null
    readonly options: { readonly crypttab: string; readonly initrd: boolean }
}

/** What crypttab is to say. @throws AttestError ERR_USAGE where it has something against this volume */
function plannedCrypttab({ volume, builder, device, options: { crypttab } }: Machine) {
    const before = existsSync(crypttab) ? readInput(crypttab).toString() : ''
    const systemd = !volume.root || (builder?.systemd ?? true)
    return { before, after: withVolume(before, { volume, systemd }, device) }
}

/** What has something against this volume is said before anything is written. @throws AttestError ERR_USAGE */
export function requirePlace(machine: Machine): void {
    const { name, uuid, root } = machine.volume
    plannedCrypttab(machine)
    for (const other of readVolumes(CONFIG_FOLDER, name)) {
        const file = volumeFile(CONFIG_FOLDER, other.name)
        if (other.uuid === uuid)
            throw coreError('ERR_USAGE', `${file}: this volume is enrolled as ${other.name} already`, {
                hint: `--name ${other.name} enrolls it anew; or remove that file`,
            })
        if (root && other.root)
            throw coreError('ERR_USAGE', `${file}: ${other.name} is the root already`, {
                hint: '--no-root where this volume is not the root; or remove that file',
            })
    }
}

/** Table and crypttab, both or neither. @throws AttestError ERR_USAGE, ERR_FILE */
export function writeTables(machine: Machine): void {
    const { volume } = machine
    makeFolder(join(CONFIG_FOLDER, VOLUMES_FOLDER), 0o755)
    const file = volumeFile(CONFIG_FOLDER, volume.name)
    const before = existsSync(file) ? readInput(file) : null
    writeFileAtomic(file, formatVolume(volume), 0o644)
    try {
        const said = writeCrypttab(machine)
        note(`${file}: ${volume.frontEnd}, ${volume.profile}${volume.root ? ', the root' : ''}`)
        note(said)
    } catch (error) {
        if (before === null) rmSync(file)
        else writeFileAtomic(file, before, 0o644)
        throw error
    }
}

// What stood there is kept once, as the owner had it.
function writeCrypttab(machine: Machine): string {
    const { volume, options } = machine
    const { crypttab } = options
    const { before, after } = plannedCrypttab(machine)
    if (after === before) return `${crypttab}: its line of ${volume.name} is as it must be`
    const backup = `${crypttab}.before-guest-attest`
    if (before !== '' && !existsSync(backup)) writeFileAtomic(backup, before, 0o644)
    writeFileAtomic(crypttab, after, 0o644)
    return `${crypttab}: its line of ${volume.name} is written${existsSync(backup) ? ` (before: ${backup})` : ''}`
}

/** Why the next boot has not what it needs. What is opened after boot is not in an initrd. */
export async function rebuildInitrd({ volume, builder, options }: Machine): Promise<string[]> {
    if (!isOpenedInInitrd(volume)) return []
    if (!options.initrd) return ['the initrd was not rebuilt (--no-initrd)']
    if (!builder) return ['nothing is known that rebuilds the initrd here']
    note(`rebuilding the initrd: ${builder.command.join(' ')}`)
    return reasonsOf(() => rebuild(builder))
}

/** What keeps a step from being done, for the last line. */
export async function reasonsOf(step: () => Promise<void>): Promise<string[]> {
    try {
        await step()
        return []
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        if (error.hint) hint(error.hint)
        return [`${messageOf(error)} (${error.code})`]
    }
}

/** @returns how the program exits: 0 where the next boot opens the volume */
export function conclude({ device }: Machine, tee: string | null, reasons: readonly string[]): 0 | 1 {
    tellCoverage(tee)
    for (const warning of report(metadataOf(copyWholeHeader(device))).warnings) note(`warning: ${warning}`)
    if (reasons.length === 0) print('next boot opens: ', styled('green', 'yes'))
    else print('next boot opens: ', styled('red', 'no'), `, because ${reasons.join('; ')}`)
    return reasons.length === 0 ? 0 : 1
}

// The guest that was tried has the old initrd; the one that boots has the new one.
function tellCoverage(tee: string | null): void {
    if (tee === null) return
    const { title, coverage } = pluginOf(tee)
    note(`${title}: ${coverage}`)
    note(
        tee === LAUNCHED.id
            ? 'where it covers the initrd, the next launch has another measurement: its owner is to expect that one (broker launch register, sev validate), and injects again'
            : 'where it covers the initrd, the next boot has another measurement: let the broker know it before',
    )
}
