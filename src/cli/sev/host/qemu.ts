// QEMU, started by us and spoken to over its monitor.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { coreError, errnoOf, messageOf } from '#core/errors.ts'
import { openQmp, type Qmp } from '#core/qmp.ts'
import { deadline, pause } from '#core/wait.ts'
import { connectUnix } from '#drivers/linux/unix-socket.ts'

export interface Qemu {
    readonly qmp: Qmp
    /** How it ends: its status, or 128 and the signal's number as a shell says it. */
    readonly ended: Promise<number>
    /** Ends it, if it has not. */
    kill(): Promise<void>
}

/** Encrypting a large firmware takes seconds; memory that is pinned first takes more. */
const START_MS = 120_000
const COMMAND_MS = 30_000

const POLL_MS = 20

/** Signals that end a QEMU, by their numbers. */
const SIGNALS: Readonly<Record<string, number>> = {
    SIGHUP: 1,
    SIGINT: 2,
    SIGABRT: 6,
    SIGKILL: 9,
    SIGSEGV: 11,
    SIGTERM: 15,
}

/** The option that makes QEMU listen; a comma in a path is doubled. */
export const monitorOptions = (socket: string): string[] => ['-qmp', `unix:${doubled(socket)},server=on,wait=off`]

export const doubled = (path: string): string => path.replaceAll(',', ',,')

/**
 * Starts QEMU with a command line that has `monitorOptions`, and negotiates with its monitor.
 * @throws AttestError ERR_USAGE, ERR_QMP, ERR_INTERRUPTED
 */
export async function startQemu([program = '', ...words]: readonly string[], socket: string): Promise<Qemu> {
    const child = spawn(program, words, { stdio: 'inherit' })
    const ended = endOf(program, child)
    ended.catch(() => undefined)
    const kill = async () => {
        child.kill('SIGTERM')
        await ended.catch(() => undefined)
    }
    const enough = new AbortController()
    try {
        using signal = deadline(START_MS, `${program} and its monitor`)
        // Whoever wins: the monitor, or the end of QEMU.
        const stream = await Promise.race([
            connected(socket, AbortSignal.any([signal, enough.signal])),
            ended.then((status) => {
                throw coreError('ERR_QMP', `${program} ended with status ${status} before its monitor was there`)
            }),
        ])
        return { qmp: await openQmp(stream, { timeoutMs: COMMAND_MS }), ended, kill }
    } catch (error) {
        await kill()
        throw error
    } finally {
        enough.abort()
    }
}

async function endOf(program: string, child: ChildProcess): Promise<number> {
    try {
        const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
        return status ?? 128 + (SIGNALS[signal ?? ''] ?? 0)
    } catch (cause) {
        throw coreError('ERR_USAGE', `${program} cannot be started: ${messageOf(cause)}`, { cause })
    }
}

async function connected(socket: string, signal: AbortSignal) {
    for (;;)
        try {
            return await connectUnix(socket, signal)
        } catch (error) {
            if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ECONNREFUSED') throw error
            await pause(POLL_MS, signal)
        }
}
