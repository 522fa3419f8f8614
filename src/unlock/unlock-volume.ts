// A volume of the table, from its disk to its passphrase: the way that every front end takes at boot. The header is
// copied and judged before anything is sent, and its digest is checked with the key before the passphrase is handed out.
// Where nobody is to type a passphrase, cryptsetup gets the copy only then: systemd-cryptsetup(8) takes a key socket that
// closes for the empty passphrase, and a header that the host has made may have a key slot for that one.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { deadline } from '#core/wait.ts'
import { checkCommandLine } from './command-line.ts'
import { passphraseOf } from './injected.ts'
import { type BoundHeader, keySlotOf, versionsOf } from './key-slot.ts'
import { type ReleaseDeps, type Released, release } from './release.ts'
import type { Status } from './status.ts'
import { dropHeader, keepHeader, readSoundHeader, readVolumeHeader, waitForDevice } from './volume-header.ts'
import { type BootVolume, opensBySecret, type SecretVolume, type Volume } from './volumes.ts'

/** How a front end hands the key of one volume over. */
export interface Handover {
    /** The copy of the header is in its place: cryptsetup may begin. */
    ready(): void
    /** Hands the passphrase over; it is wiped afterwards. */
    deliver(passphrase: Secret, signal: AbortSignal): Promise<void>
}

export interface VolumeDeps extends Omit<ReleaseDeps, 'deadlineMs' | 'persistent' | 'status'> {
    readonly status: Status
    /** What was injected under a GUID; wiped after its use, and left where it was. @throws AttestError ERR_SECRET* */
    readonly injected: (guid: string) => Promise<Secret>
    /** Of this boot. */
    readonly runFolder?: string
    readonly device?: string
    readonly commandLine?: () => string
}

/**
 * Opens one volume through a front end, or says why not; returns how the process exits: 0 handed over, 1 refused for
 * good, 2 the configuration is wrong, 3 the deadline has passed.
 */
export async function unlockVolume(volume: BootVolume, handover: Handover, deps: VolumeDeps): Promise<number> {
    const { status } = deps
    try {
        dropHeader(volume.name, deps.runFolder)
        if (volume.profile === 'strict') checkCommandLine(volume, deps.commandLine)
        const deadlineMs = volume.deadlineS * 1000
        const startedMs = performance.now()
        using signal = deadline(deadlineMs, `the volume ${volume.name}`)
        if (opensBySecret(volume)) {
            await openBySecret(volume, handover, deps, signal)
            return 0
        }
        const header = await prepare(volume, deps, signal)
        if (volume.profile === 'compat') begin(volume, header, handover, deps)
        const spentMs = performance.now() - startedMs
        const left = Math.max(1000, Math.ceil((deadlineMs - spentMs) / 1000) * 1000) // told in whole seconds
        await release(
            { servers: volume.servers, path: volume.path, versions: versionsOf(header) },
            { ...deps, deadlineMs: left, persistent: true },
            async (released) => deliver(volume, header, released, handover, deps, signal),
        )
        return 0
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        status.say(error.exit === 1 ? 'refused' : 'failed', `${word(error)}: ${messageOf(error)}`)
        return error.exit
    }
}

async function prepare(volume: Volume, deps: VolumeDeps, signal: AbortSignal): Promise<BoundHeader> {
    const device = await waitForDevice(volume, signal, deps.device)
    const header = readVolumeHeader(volume, device)
    deps.status.say('checked', `the header of ${device} is sound, and opens from its copy`)
    return header
}

// The passphrase itself was injected: nobody is asked, and no binding is in the header whose digest it would prove. Whoever
// formatted the disk knew the passphrase, or nothing opens; but an older header of it opens as well.
async function openBySecret(
    volume: SecretVolume,
    handover: Handover,
    deps: VolumeDeps,
    signal: AbortSignal,
): Promise<void> {
    const device = await waitForDevice(volume, signal, deps.device)
    const header = { copy: readSoundHeader(volume, device) }
    deps.status.say('checked', `the header of ${device} is sound, and opens from its copy`)
    if (volume.profile === 'compat') begin(volume, header, handover, deps)
    const injected = await deps.injected(volume.secret)
    try {
        const passphrase = passphraseOf(volume.secret, injected, (text) => deps.status.say('checked', text))
        if (volume.profile === 'strict') begin(volume, header, handover, deps)
        await handover.deliver(passphrase, signal)
        deps.status.say('open', `the passphrase of ${volume.name} has been handed over`)
    } finally {
        wipe(injected)
    }
}

function begin(
    { name }: BootVolume,
    header: Pick<BoundHeader, 'copy'>,
    handover: Handover,
    { runFolder }: VolumeDeps,
): void {
    keepHeader(name, header, runFolder)
    handover.ready()
}

async function deliver(
    volume: Volume,
    header: BoundHeader,
    released: Released,
    handover: Handover,
    deps: VolumeDeps,
    signal: AbortSignal,
): Promise<void> {
    const { passphrase } = keySlotOf(header, released)
    try {
        if (volume.profile === 'strict') begin(volume, header, handover, deps)
        await handover.deliver(passphrase, signal)
        deps.status.say('open', `the key of ${volume.name} has been handed over`)
    } finally {
        wipe(passphrase)
    }
}

const word = ({ exit }: AttestError): string => (exit === 1 ? 'refused' : 'not opened')
