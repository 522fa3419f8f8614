// The front end of systemd where a person may type a passphrase as well: systemd-cryptsetup(8) asks, and this answers like
// a password agent as soon as it has the key. Whoever is first wins, and nobody holds up the other.
// https://systemd.io/PASSWORD_AGENTS/
// SPDX-License-Identifier: Apache-2.0

import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { pause } from '#core/wait.ts'
import type { Status } from './status.ts'
import type { Handover } from './unlock-volume.ts'

export interface AgentDoors {
    /** One datagram to a unix socket; false where it was not taken. */
    sendDatagram(path: string, bytes: Uint8Array): boolean
    notify(state: string): void
}

/** Where requests stand, as files `ask.…`. */
export const ASK_FOLDER = '/run/systemd/ask-password'

const LOOK_AGAIN_MS = 100

/** What a request may have, and more. */
const MAX_REQUEST = 64 * 1024

export function passwordAgent(
    device: string,
    doors: AgentDoors,
    status: Status,
    folder: string = ASK_FOLDER,
): Handover {
    return {
        ready() {
            status.say('checked', 'the host can read this console: rotate this key after use')
            doors.notify('READY=1')
        },
        async deliver(passphrase, signal) {
            while (!answer(folder, device, passphrase, doors)) await pause(LOOK_AGAIN_MS, signal)
        },
    }
}

/** True where somebody who asked for the passphrase of this device has been answered. */
function answer(folder: string, device: string, passphrase: Secret, doors: AgentDoors): boolean {
    let answered = false
    for (const socket of requestsFor(folder, device)) {
        const reply = secret(Buffer.concat([Buffer.from('+'), passphrase]))
        try {
            answered = doors.sendDatagram(socket, reply) || answered
        } finally {
            wipe(reply)
        }
    }
    return answered
}

/** The sockets of those who ask for a device. */
export function requestsFor(folder: string, device: string): string[] {
    const sockets: string[] = []
    for (const name of list(folder)) {
        const request = readRequest(join(folder, name))
        const asked = request.get('Id')?.match(/^cryptsetup:(.+)$/)?.[1]
        const socket = request.get('Socket')
        if (asked !== undefined && socket?.startsWith('/run/systemd/') && isSame(asked, device)) sockets.push(socket)
    }
    return sockets
}

const list = (folder: string): string[] => {
    try {
        return readdirSync(folder).filter((name) => name.startsWith('ask.'))
    } catch {
        return [] // nobody has asked for anything yet
    }
}

/** `NAME=VALUE` lines of an INI file. */
function readRequest(file: string): ReadonlyMap<string, string> {
    try {
        const text = readFileSync(file, 'utf8')
        if (text.length > MAX_REQUEST) return new Map()
        return new Map([...text.matchAll(/^([A-Za-z]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]))
    } catch {
        return new Map() // it was answered meanwhile
    }
}

function isSame(one: string, other: string): boolean {
    try {
        return realpathSync(one) === realpathSync(other)
    } catch {
        return false
    }
}
