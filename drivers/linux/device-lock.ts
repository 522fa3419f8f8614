// One request at a time, and a pause between two of them, across processes: bursts make a host throttle, and a driver
// that is throttled for long ends by wiping the key of its channel to the firmware, until the guest is restarted.
// The lock is flock(2) on a file whose content is when the last request ended, in milliseconds of CLOCK_MONOTONIC.
// SPDX-License-Identifier: Apache-2.0

import { closeSync, constants, ftruncateSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, messageOf } from '#core/errors.ts'
import { monotonicMs, pause } from '#core/wait.ts'
import { driverError } from '../errors.ts'
import type { Libc } from './libc.ts'

export interface DeviceLock {
    /**
     * Runs a request when it is its turn. The signal ends the wait, never the request.
     * @throws AttestError ERR_LOCK, the signal's reason, what the request throws
     */
    hold<T>(device: string, request: () => Promise<T>, signal?: AbortSignal): Promise<T>
}

const POLL_MS = 20

export function deviceLock(libc: () => Pick<Libc, 'tryLock'>, folder: string, spacingMs: number): DeviceLock {
    return {
        async hold(device, request, signal = new AbortController().signal) {
            signal.throwIfAborted()
            const fd = openLock(folder, device)
            try {
                while (!libc().tryLock(fd)) await pause(POLL_MS * (0.5 + Math.random()), signal)
                await pause(restOfSpacing(fd, spacingMs), signal)
                try {
                    return await request()
                } finally {
                    writeStamp(fd)
                }
            } finally {
                closeSync(fd) // and with it the lock
            }
        },
    }
}

function openLock(folder: string, device: string): number {
    const path = join(folder, `${device}.lock`)
    try {
        makeFolder(folder)
        return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    } catch (cause) {
        throw driverError('ERR_LOCK', `${path}: ${messageOf(cause)}`, { cause, hint: 'run this as root' })
    }
}

function makeFolder(path: string): void {
    try {
        mkdirSync(path, { mode: 0o700 })
    } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
    }
}

function restOfSpacing(fd: number, spacingMs: number): number {
    const text = Buffer.alloc(20)
    const last = Number(text.toString('latin1', 0, readSync(fd, text, 0, 20, 0)) || Number.NaN)
    const since = monotonicMs() - last
    // A stamp that is not a number, or lies in the future, is not one of this boot's.
    return since >= 0 && since < spacingMs ? spacingMs - since : 0
}

function writeStamp(fd: number): void {
    ftruncateSync(fd)
    writeSync(fd, String(monotonicMs()), 0)
}
