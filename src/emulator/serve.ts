// The server's half of the emulator: a process of its own, which answers on a FUSE connection that the script of
// namespace.ts has mounted, and never touches what it serves.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, fstatSync, readFileSync, type Stats, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { coreError } from '#core/errors.ts'
import { attributeFile } from './attribute.ts'
import { configfsFolder } from './configfs-tsm.ts'
import { readMessages, sendReply } from './connection.ts'
import { deviceFile } from './device.ts'
import type { FaultPlan } from './faults.ts'
import { gate } from './gate.ts'
import { processMemory } from './memory.ts'
import type { DeviceModel } from './model.ts'
import { DESCRIPTORS } from './namespace.ts'
import { fuseSession } from './session.ts'
import { folder } from './tree.ts'

/** How often the server tells the supervisor that it is not stuck. */
export const HEARTBEAT_MS = 1000

/** Where the content of each top folder of the connection has to appear. */
const PLACES = { devices: '/dev', configfs: '/sys/kernel/config' } as const

/**
 * Ties this process to its supervisor: tells it that all is well, and ends with it. To be called first: making a model
 * can take seconds.
 * @throws AttestError ERR_USAGE where there is none
 */
export function followSupervisor(): void {
    const isSupervised =
        isOpen(DESCRIPTORS.control, (stat) => stat.isSocket()) &&
        isOpen(DESCRIPTORS.fuse, (stat) => stat.isCharacterDevice())
    if (!isSupervised)
        throw coreError('ERR_USAGE', '--server: this is how an emulated guest is served, nobody else can start it', {
            hint: 'leave it out, and name a command behind --',
        })
    const control = new Socket({ fd: DESCRIPTORS.control, readable: true, writable: true })
    const end = () => process.exit(0)
    control.on('error', end).on('end', end).on('close', end).resume().unref()
    const beat = () => void control.write('alive 1\n')
    beat()
    setInterval(beat, HEARTBEAT_MS).unref()
}

function isOpen(descriptor: number, as: (stat: Stats) => boolean): boolean {
    try {
        return as(fstatSync(descriptor))
    } catch {
        return false
    }
}

/** Serves until the mount goes. */
export async function serve(model: DeviceModel, plan: FaultPlan, complain: (text: string) => void): Promise<void> {
    const die = () => {
        complain('the device dies now, as the script of faults says')
        process.kill(process.pid, 'SIGKILL')
    }
    const way = gate(plan, () => performance.now(), die)
    const devices = Object.entries(model.devices).map(
        ([name, device]) => [name, deviceFile(device, way, processMemory)] as const,
    )
    // By their numbers: where they appear is another folder for each.
    const files = Object.entries(model.files ?? {}).map(([path, file], index) => ({
        name: String(index),
        path,
        file: attributeFile(file, way),
    }))
    const folders = Object.entries(model.folders ?? {}).map(([path, entries], index) => ({
        name: String(index),
        path,
        folder: folder(
            Object.fromEntries(Object.entries(entries).map(([name, file]) => [name, attributeFile(file, way)])),
        ),
    }))
    const root = folder({
        devices: folder(Object.fromEntries(devices)),
        files: folder(Object.fromEntries(files.map(({ name, file }) => [name, file]))),
        folders: folder(Object.fromEntries(folders.map(({ name, folder }) => [name, folder]))),
        configfs: configfsFolder(model.tsm, way),
    })
    const receive = fuseSession(
        root,
        { send: (reply) => sendReply(DESCRIPTORS.fuse, reply, complain), isBeingKilled, complain },
        Math.floor(Date.now() / 1000),
    )
    const ended = readMessages(DESCRIPTORS.fuse, receive)
    announce([
        ...devices.map(([name]) => `place devices/${name} ${PLACES.devices}/${name}`),
        ...(model.tsm ? [`place configfs ${PLACES.configfs}`] : []),
        ...files.map(({ name, path }) => `place files/${name} ${path}`),
        ...folders.map(({ name, path }) => `place folders/${name} ${path}`),
        'go',
    ])
    await ended
}

function announce(lines: readonly string[]): void {
    writeSync(DESCRIPTORS.ready, lines.map((line) => `${line}\n`).join(''))
    closeSync(DESCRIPTORS.ready)
}

// A signal that kills is one that is pending, not blocked, and neither handled nor ignored; the kernel makes SIGKILL of
// most such. proc_pid_status(5). A thread that cannot be looked at is taken for one that must not wait.
function isBeingKilled(threadId: number): boolean {
    try {
        const status = readFileSync(`/proc/${threadId}/status`, 'latin1')
        const mask = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1]}`)
        const pending = (mask('SigPnd') | mask('ShdPnd')) & ~HARMLESS
        return (pending & ~mask('SigBlk') & ~mask('SigIgn') & ~mask('SigCgt')) !== 0n
    } catch {
        return true
    }
}

/** Signals whose default is to do nothing, to stop or to go on: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH. */
const HARMLESS = [17, 18, 19, 20, 21, 22, 23, 28].reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n)
