// The supervisor's half of the emulator: starts the namespaces with the server and the command in them, passes signals
// and the exit status through, and breaks the connection when the server falls silent.
//
// What ends when something dies:
//   - the command: the namespaces, with whatever it left running, end with it;
//   - the supervisor, however: its child dies of it (PR_SET_PDEATHSIG), and the namespaces with that one;
//   - the server: every request on the connection fails at once; the command sees a device that has gone;
//   - the server hangs or is stopped: the same after a while, because the connection is broken here.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { errnoOf, messageOf } from '#core/errors.ts'
import { abortConnection } from './abort.ts'
import { emulatorError } from './errors.ts'
import { type GuestCommand, type GuestLine, guestCommandLine } from './namespace.ts'

export interface Supervised {
    /** The program that serves the devices: it calls `followSupervisor` and `serve`. */
    readonly server: readonly string[]
    readonly command: readonly string[]
    /** Says what happens to the emulator while the command runs. */
    readonly note: (text: string) => void
    /** How long the server may be silent; 10 s unless told. */
    readonly silenceMs?: number
}

const SILENCE_MS = 10_000
const LOOK_MS = 1000

/** How long a signal waits for the news that the command is there; then it ends the start. */
const GRACE_MS = 100

/** Signals that are passed to the command. */
const PASSED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/** Those that a terminal sends to every process in its foreground, the command among them. */
const OF_TERMINALS: readonly string[] = ['SIGINT', 'SIGQUIT']

/**
 * Runs a command in an emulated guest.
 * @returns its exit status, or 128 and the number of the signal that ended it
 * @throws AttestError ERR_EMULATOR_MISSING, ERR_EMULATOR_NAMESPACE
 */
export async function supervise({ server, command, note, silenceMs = SILENCE_MS }: Supervised): Promise<number> {
    checkMachine()
    const as = caller()
    const [file = '', ...words] = guestCommandLine({ as, server, command })
    const child = spawn(file, words, { stdio: ['inherit', 'inherit', 'pipe', 'pipe', 2] })
    const ended = exitOf(child)

    const known: Partial<Record<GuestLine, number>> = {}
    let lastHeard = performance.now()
    createInterface({ input: child.stdio[3] as Readable }).on('line', (line) => {
        lastHeard = performance.now()
        const [word = '', value = ''] = line.split(' ')
        known[word as GuestLine] = Number(value)
    })
    const setupErrors: string[] = []
    createInterface({ input: child.stderr as Readable }).on('line', (line) => {
        if (known.command === undefined) setupErrors.push(line)
    })

    const watch = watchServer(
        silenceMs,
        // Making keys may take its time; until the command runs, nobody waits but who can press Ctrl-C.
        () => (known.command === undefined ? performance.now() : lastHeard),
        () => {
            note('the emulated device has died, or does not answer any more: its connection is broken')
            if (known.connection !== undefined) abortConnection(known.connection)
            if (known.server !== undefined) kill(known.server, 'SIGKILL') // its end, too, breaks the connection
        },
    )
    let received: NodeJS.Signals | undefined
    const pass = (signal: NodeJS.Signals) => {
        received = signal
        if (known.command === undefined) child.kill('SIGKILL')
        else kill(known.command, signal)
    }
    const listeners = PASSED.map((signal) => {
        const listener = () => {
            // That the command is there may have been said and not been heard yet.
            if (known.command === undefined) setTimeout(pass, GRACE_MS, signal)
            else if (!OF_TERMINALS.includes(signal) || !inForeground()) pass(signal)
        }
        process.on(signal, listener)
        return () => process.off(signal, listener)
    })
    try {
        const { code, signal } = await ended
        if (known.command === undefined && received) return 128 + constants.signals[received]
        if (known.command === undefined && setupErrors.length > 0) throw setupError(as, setupErrors)
        return signal ? 128 + constants.signals[signal] : (code ?? 1)
    } finally {
        clearInterval(watch)
        for (const remove of listeners) remove()
        for (const stream of child.stdio) stream?.destroy()
    }
}

/** What can be said before anything is started. */
function checkMachine(): void {
    if (process.platform !== 'linux')
        throw emulatorError('ERR_EMULATOR_MISSING', `the emulator needs Linux, this is ${process.platform}`)
    try {
        closeSync(openSync('/dev/fuse', 'r+'))
    } catch (cause) {
        if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENODEV' || errnoOf(cause) === 'ENXIO')
            throw emulatorError('ERR_EMULATOR_MISSING', 'the kernel offers no /dev/fuse', {
                cause,
                hint: 'modprobe fuse',
            })
        throw emulatorError('ERR_EMULATOR_MISSING', `/dev/fuse may not be opened by this user: ${messageOf(cause)}`, {
            cause,
            hint: 'run this as root, or chmod 0666 /dev/fuse, which is what most distributions do',
        })
    }
}

// user_namespaces(7): the machine's own user namespace maps every id to itself.
function caller(): GuestCommand['as'] {
    if (process.geteuid?.() !== 0) return 'user'
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1')) ? 'root' : 'contained'
}

function exitOf(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    return new Promise((resolve, reject) => {
        child.once('error', (cause) =>
            reject(emulatorError('ERR_EMULATOR_MISSING', `sh could not be started: ${messageOf(cause)}`, { cause })),
        )
        // Not `exit`: what the processes have said must have been heard.
        child.once('close', (code, signal) => resolve({ code, signal }))
    })
}

// Calls back once when nothing was heard for too long.
function watchServer(silenceMs: number, lastHeard: () => number, silent: () => void): NodeJS.Timeout {
    let lastLook = performance.now()
    const timer = setInterval(() => {
        const now = performance.now()
        // A look that comes late says that this process was stopped itself.
        const stopped = now - lastLook > 3 * LOOK_MS
        lastLook = now
        if (stopped || now - lastHeard() <= silenceMs) return
        clearInterval(timer)
        silent()
    }, LOOK_MS)
    return timer
}

function kill(pid: number, signal: NodeJS.Signals): void {
    try {
        process.kill(pid, signal)
    } catch {
        // it has gone
    }
}

// proc_pid_stat(5): fields 5, 7 and 8 are the process group, the terminal, and the terminal's foreground group.
function inForeground(): boolean {
    const stat = readFileSync('/proc/self/stat', 'latin1')
    const [, , group, , terminal, foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return terminal !== '0' && group === foreground
}

function setupError(as: GuestCommand['as'], lines: readonly string[]) {
    const text = lines.slice(0, 3).join('; ')
    if (/not found/.test(text))
        return emulatorError('ERR_EMULATOR_MISSING', `a program of util-linux or coreutils is missing: ${text}`)
    const refused = /unshare failed|Operation not permitted|Permission denied|No space left/.test(text)
    if (!refused) return emulatorError('ERR_EMULATOR_NAMESPACE', `the emulated guest could not be set up: ${text}`)
    return emulatorError('ERR_EMULATOR_MISSING', `namespaces may not be made here: ${text}`, {
        hint:
            as === 'user'
                ? userHint()
                : 'this container lacks CAP_SYS_ADMIN: run it privileged, or on the machine itself',
    })
}

const SWITCHES: readonly (readonly [path: string, bad: string, remedy: string])[] = [
    ['/proc/sys/kernel/unprivileged_userns_clone', '0', 'sysctl kernel.unprivileged_userns_clone=1'],
    [
        '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
        '1',
        'sysctl kernel.apparmor_restrict_unprivileged_userns=0',
    ],
    ['/proc/sys/user/max_user_namespaces', '0', 'sysctl user.max_user_namespaces=10000'],
]

function userHint(): string {
    const found = SWITCHES.find(([path, bad]) => existsSync(path) && readFileSync(path, 'latin1').trim() === bad)
    return found ? `user namespaces are switched off: ${found[2]}, or run this as root` : 'run this as root'
}
