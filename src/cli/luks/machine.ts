// What this machine is, as far as opening its disks goes: which program builds its initrd, and which volume its root is on.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { FrontEnd } from '#unlock/volumes.ts'
import { findProgram } from '../doctor/programs.ts'
import { machineError } from './errors.ts'

export interface Builder {
    readonly name: string
    readonly command: readonly string[]
    /** systemd opens volumes in it. */
    readonly systemd: boolean
    readonly frontEnds: readonly FrontEnd[]
}

/** By the program that only its package has. */
const BUILDERS: readonly (Builder & { readonly program: string })[] = [
    {
        name: 'dracut',
        program: 'dracut',
        command: ['dracut', '--force'],
        systemd: true,
        frontEnds: ['socket', 'clevis'],
    },
    {
        name: 'initramfs-tools',
        program: 'mkinitramfs',
        command: ['update-initramfs', '-u'],
        systemd: false,
        frontEnds: ['keyscript', 'clevis'],
    },
]

/** What builds the initrd here; null where nothing is known. */
export const findBuilder = (): Builder | null => BUILDERS.find(({ program }) => findProgram(program) !== null) ?? null

/** Builds it anew, and shows what that program says. @throws AttestError ERR_INITRD_BUILD */
export function rebuild({ command: [program = '', ...args] }: Builder): Promise<void> {
    return new Promise((resolve, reject) => {
        // Standard output is for the result.
        const child = spawn(program, args, { stdio: ['ignore', process.stderr, process.stderr] })
        const fail = (why: string) =>
            reject(
                machineError('ERR_INITRD_BUILD', `${[program, ...args].join(' ')}: ${why}`, {
                    hint: 'the initrd is the old one: it does not open the volume',
                }),
            )
        child.on('error', ({ message }) => fail(message))
        child.on('close', (code) => (code === 0 ? resolve() : fail(`exit status ${code}`)))
    })
}

/** True where `/` lies on the volume with this LUKS UUID: it, or what is built on it, is the device that is mounted. */
export function isRootVolume(uuid: string, sys = '/sys', mounts = '/proc/self/mountinfo'): boolean {
    const mounted = readFileSync(mounts, 'utf8')
        .split('\n')
        .map((line) => line.split(' '))
        .findLast(([, , , , where]) => where === '/')
    const device = mounted && deviceNumber(mounted)
    return (
        device !== undefined &&
        holds(join(sys, 'dev/block', device), `CRYPT-LUKS2-${uuid.replaceAll('-', '').toLowerCase()}-`)
    )
}

// proc(5): ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS … - TYPE SOURCE OPTIONS. btrfs has a number of its own there, 0:N.
function deviceNumber(fields: readonly string[]): string | undefined {
    const number = fields[2]
    if (number === undefined || !number.startsWith('0:')) return number
    const rdev = statSync(fields[fields.indexOf('-') + 2] ?? '', { throwIfNoEntry: false })?.rdev ?? 0
    // makedev(3), as the kernel packs it for this size.
    return rdev === 0 ? undefined : `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >> 12) & 0xfff00)}`
}

function holds(folder: string, prefix: string, depth = 0): boolean {
    if (depth > 8) return false
    if (readQuietly(join(folder, 'dm/uuid')).startsWith(prefix)) return true
    return listQuietly(join(folder, 'slaves')).some((slave) => holds(join(folder, 'slaves', slave), prefix, depth + 1))
}

function readQuietly(path: string): string {
    try {
        return readFileSync(path, 'latin1')
    } catch {
        return ''
    }
}

function listQuietly(path: string): string[] {
    try {
        return readdirSync(path)
    } catch {
        return []
    }
}
