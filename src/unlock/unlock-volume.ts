// A volume of the table, from its disk to its passphrase: the way that every front end takes at boot. The header is
// copied and judged before anything is sent, and its digest is checked with the key before the passphrase is handed out.
// SPDX-License-Identifier: Apache-2.0

import { type Secret, wipe } from '#core/bytes.ts'
import { AttestError, messageOf } from '#core/errors.ts'
import { deadline } from '#core/wait.ts'
import { bindingKeys, checkDigest, type LuksBinding } from '#luks/binding.ts'
import { checkCommandLine } from './command-line.ts'
import { type ReleaseDeps, type Released, release } from './release.ts'
import type { Status } from './status.ts'
import { keepHeader, readVolumeHeader, type VolumeHeader, waitForDevice } from './volume-header.ts'
import type { Volume } from './volumes.ts'

/** What a front end does with a volume. */
export interface FrontEnd {
    /** The copy of the header is in its place: cryptsetup may begin. */
    ready(): void
    /** Hands the passphrase over; it is wiped afterwards. */
    deliver(passphrase: Secret, signal: AbortSignal): Promise<void>
}

export interface VolumeDeps extends Omit<ReleaseDeps, 'deadlineMs' | 'persistent' | 'status'> {
    readonly status: Status
    /** Of this boot. */
    readonly runFolder?: string
    readonly device?: string
    readonly commandLine?: () => string
}

/**
 * Opens one volume through a front end, or says why not; returns how the process exits: 0 handed over, 1 refused for
 * good, 2 the configuration is wrong, 3 the deadline has passed.
 */
export async function unlockVolume(volume: Volume, frontEnd: FrontEnd, deps: VolumeDeps): Promise<number> {
    const { status, log } = deps
    try {
        if (volume.profile === 'strict') checkCommandLine(volume, deps.commandLine)
        const deadlineMs = volume.deadlineS * 1000
        const startedMs = performance.now()
        using signal = deadline(deadlineMs, `the volume ${volume.name}`)
        const header = await prepare(volume, deps, signal)
        frontEnd.ready()
        const spentMs = performance.now() - startedMs
        const left = Math.max(1000, Math.ceil((deadlineMs - spentMs) / 1000) * 1000) // told in whole seconds
        await release(
            { servers: volume.servers, path: volume.path, versions: versionsOf(header) },
            { ...deps, deadlineMs: left, persistent: true },
            async (released) => handOver(volume, header, released, frontEnd, deps, signal),
        )
        return 0
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        status.say(error.exit === 1 ? 'refused' : 'failed', `${word(error)}: ${messageOf(error)}`)
        log.error(messageOf(error), { code: error.code })
        return error.exit
    }
}

async function prepare(volume: Volume, deps: VolumeDeps, signal: AbortSignal): Promise<VolumeHeader> {
    const device = await waitForDevice(volume, signal, deps.device)
    const header = readVolumeHeader(volume, device)
    keepHeader(volume.name, header, deps.runFolder)
    deps.status.say('checked', `the header of ${device} is sound, and opens from its copy`)
    return header
}

/** In their order, each once: a header in the middle of a rotation has two. */
export const versionsOf = ({ bindings }: Pick<VolumeHeader, 'bindings'>): (number | null)[] => [
    ...new Set(bindings.map(({ version }) => version)),
]

async function handOver(
    volume: Volume,
    { copy, bindings }: VolumeHeader,
    { key, asked }: Released,
    frontEnd: FrontEnd,
    { status }: VolumeDeps,
    signal: AbortSignal,
): Promise<void> {
    const passphrase = firstThatHolds(
        copy,
        bindings.filter(({ version }) => version === asked),
        key,
    )
    try {
        await frontEnd.deliver(passphrase, signal)
        status.say('open', `the key of ${volume.name} has been handed over`)
    } finally {
        wipe(passphrase)
    }
}

/** @throws AttestError ERR_LUKS_HEADER_DIGEST where the header is not the one that any of them was made for */
export function firstThatHolds(copy: Buffer, bindings: readonly LuksBinding[], key: Secret): Secret {
    let last: unknown
    for (const binding of bindings) {
        const { passphrase, headerKey } = bindingKeys(key, binding)
        try {
            checkDigest(copy, binding, headerKey)
            return passphrase
        } catch (error) {
            wipe(passphrase)
            last = error
        } finally {
            wipe(headerKey)
        }
    }
    throw last
}

const word = ({ exit }: AttestError): string => (exit === 1 ? 'refused' : 'not opened')
