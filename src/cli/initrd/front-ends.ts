// The front ends of the initrd's program, wired to this machine.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { coreError } from '#core/errors.ts'
import { kernelSink, lineLogger, silent, stderrSink } from '#core/log.ts'
import { CONFIG_FOLDER, RUN_FOLDER } from '#core/role.ts'
import { writeStdout } from '#core/stdio.ts'
import { libc } from '#drivers/linux/libc.ts'
import { passwordAgent } from '#unlock/ask-password.ts'
import { keySocket } from '#unlock/key-socket.ts'
import { bootStatus, type Status } from '#unlock/status.ts'
import { type Handover, unlockVolume } from '#unlock/unlock-volume.ts'
import { deviceOf, headerFile } from '#unlock/volume-header.ts'
import { type BootVolume, needsNetwork, readVolumes, requireVolume } from '#unlock/volumes.ts'
import { readInjected } from '../injected.ts'
import { readConfig } from '../settings.ts'
import { releaseDeps } from '../unlock-deps.ts'

/** The first descriptor that a service manager hands over. sd_listen_fds(3) */
const FIRST_LISTENER = 3

/** `volumes`: NAME UUID FRONT_END PROFILE ON_FAILURE ROOT NETWORK DEADLINE_S, separated by tabs. */
export function volumes(args: readonly string[]): number {
    if (args.length > 0) throw coreError('ERR_USAGE', `volumes: unexpected ${args.join(' ')}`)
    const yesNo = (is: boolean) => (is ? 'yes' : 'no')
    for (const volume of readVolumes(CONFIG_FOLDER)) {
        const { name, uuid, frontEnd, profile, onFailure, root, deadlineS } = volume
        const row = [name, uuid, frontEnd, profile, onFailure, yesNo(root), yesNo(needsNetwork(volume)), deadlineS]
        process.stdout.write(`${row.join('\t')}\n`)
    }
    return 0
}

/** `key NAME`: the keyscript's half that is no shell. */
export function key(args: readonly string[]): Promise<number> {
    const volume = named(args)
    const handover: Handover = { ready: () => undefined, deliver: async (passphrase) => writeStdout(passphrase) }
    return unlock(volume, handover, bootStatus(volume.name))
}

/** `luks-open NAME`: for a person, and for initrds of another make: as at boot, up to the mapping. */
export function open(args: readonly string[]): Promise<number> {
    const volume = named(args)
    const handover: Handover = {
        ready: () => undefined,
        async deliver(passphrase) {
            // No front end of a boot starts a process: what does is loaded for a person.
            const { openVolume } = await import('#luks/cryptsetup.ts')
            await openVolume(deviceOf(volume), volume.name, passphrase, headerFile(volume.name))
        },
    }
    return unlock(volume, handover, bootStatus(volume.name, RUN_FOLDER, [kernelSink, stderrSink]))
}

/** `key-socket NAME`: a service that systemd starts with its listening socket. */
export async function keySocketOf(args: readonly string[]): Promise<number> {
    const volume = named(args)
    const status = bootStatus(volume.name)
    stopWhenTold(status)
    const doors = { ...libc(), notify }
    if (volume.profile === 'compat') {
        stopWhenOpen(volume, status)
        return unlock(volume, passwordAgent(deviceOf(volume), doors, status), status)
    }
    if (process.env['LISTEN_FDS'] !== '1' || process.env['LISTEN_PID'] !== String(process.pid))
        throw coreError('ERR_USAGE', 'key-socket: expected one listening socket from the service manager', {
            hint: `systemctl start guest-attest-key@${volume.name}.socket`,
        })
    // systemd-cryptsetup shuts its sending half at once: that is not its end. src/basic/fileio.c, read_full_file_full
    const server = createServer({ allowHalfOpen: true }).listen({ fd: FIRST_LISTENER })
    await using socket = keySocket(volume.name, server, doors, lineLogger('guest-attest', [stderrSink]))
    return await unlock(volume, socket, status)
}

function named([name, ...more]: readonly string[]): BootVolume {
    if (name === undefined || more.length > 0) throw coreError('ERR_USAGE', 'expected the NAME of one volume')
    return requireVolume(CONFIG_FOLDER, name)
}

async function unlock(volume: BootVolume, handover: Handover, status: Status): Promise<number> {
    libc().forbidCoreDumps()
    // The status says each change once; a log would say each try, and the scripts lead it to the same console.
    const config = readConfig()
    const injected = (guid: string) => readInjected(config, guid)
    return unlockVolume(volume, handover, { ...(await releaseDeps(config, silent)), log: silent, status, injected })
}

// The root is about to be switched, or the volume was opened by hand: that is no failure.
function stopWhenTold(status: Status): void {
    process.once('SIGTERM', () => {
        status.say('stopped', 'stopped waiting')
        process.exit(0)
    })
}

// Somebody has typed a passphrase.
function stopWhenOpen({ name }: BootVolume, status: Status): void {
    setInterval(() => {
        if (!existsSync(`/dev/mapper/${name}`)) return
        status.say('open', `${name} is open`)
        process.exit(0)
    }, 500).unref()
}

/** sd_notify(3); nothing where nobody listens. */
function notify(state: string): void {
    const path = process.env['NOTIFY_SOCKET']
    if (path) libc().sendDatagram(path, Buffer.from(state))
}
