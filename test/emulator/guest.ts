// Starts `emulate` under a watchdog, and looks at what is left of it. A guest that outlives its time is taken down by
// all means: its connection is broken and its processes are killed, so that no test can leave a mount that hangs the
// machine.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionContext, Implementation } from 'ava'
import { abortConnection } from '#emulator/abort.ts'
import { MAIN } from '../cli/run.ts'

export interface Guest {
    readonly child: ChildProcess
    /** Standard output and standard error so far. */
    readonly out: () => string
    readonly err: () => string
    /** Ends with the exit status, or the signal that ended the supervisor. */
    readonly ended: Promise<number | NodeJS.Signals | null>
    /** Whether the watchdog had to end it. */
    readonly barked: () => boolean
    /** Waits until this stands on standard output. */
    said(text: string): Promise<void>
    /** The processes, once the command runs. */
    processes(): Promise<Processes>
    /** What is left: mounts and processes. Nothing, if all is well; a connection needs one or the other. */
    left(): Promise<string[]>
}

/** Process ids as this process sees them. */
export interface Processes {
    readonly supervisor: number
    /** unshare(1), which the kernel kills with the supervisor. */
    readonly holder: number
    /** The first process in the namespaces. */
    readonly first: number
    readonly server: number
    readonly command: number
}

export interface GuestOptions {
    /** `snp` unless told. */
    readonly tee?: string
    readonly args?: readonly string[]
    readonly command: readonly string[]
    /** Words before the program, such as setpriv(1). */
    readonly prefix?: readonly string[]
    readonly env?: Readonly<Record<string, string>>
    readonly input?: 'pipe' | 'ignore'
    readonly timeoutMs?: number
    /** The program, where it is not this checkout's. */
    readonly main?: string
}

/** `emulate --tee TEE ARGS… -- COMMAND…`, or the words of `prefix` before it. */
export function emulate({
    tee = 'snp',
    args = [],
    command,
    prefix = [],
    env = {},
    input = 'ignore',
    timeoutMs = 40_000,
    main = MAIN,
}: GuestOptions) {
    const words = [process.execPath, main, 'emulate', '--tee', tee, ...args, '--', ...command]
    return watched([...prefix, ...words], env, input, timeoutMs)
}

export function watched(
    words: readonly string[],
    env: Readonly<Record<string, string>>,
    input: 'pipe' | 'ignore',
    timeoutMs: number,
): Guest {
    const [file = '', ...rest] = words
    // A process group of its own, for the watchdog.
    const child = spawn(file, rest, { stdio: [input, 'pipe', 'pipe'], env: { ...process.env, ...env }, detached: true })
    const supervisor = child.pid ?? 0
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk))
    const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString('utf8')

    const seen = new Map<number, string>() // processes by id, with when they started: ids are used again
    // Held open until the end: another guest's could have the same number.
    const namespaces = new Map<string, number>()
    const connections = new Set<number>()
    const look = () => {
        for (const pid of descendants(supervisor)) {
            const started = startOf(pid)
            if (started) seen.set(pid, started)
            const namespace = namespaceOf(pid)
            if (!namespace || namespace === OWN_NAMESPACE) continue
            if (!namespaces.has(namespace)) hold(namespaces, namespace, pid)
            for (const number of fuseConnections(pid)) connections.add(number)
        }
    }
    const looking = setInterval(look, 20)
    let barked = false
    const dog = setTimeout(() => {
        barked = true
        look()
        for (const number of connections) abortConnection(number)
        killAll([...seen.keys()].filter((pid) => startOf(pid) === seen.get(pid)))
    }, timeoutMs)

    const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
        // `close`, not `exit`: whoever still holds the output is still there.
        child.once('close', (code, signal) => {
            clearInterval(looking)
            clearTimeout(dog)
            resolve(code ?? signal)
        })
    })
    return {
        child,
        out: () => text(out),
        err: () => text(err),
        ended,
        barked: () => barked,
        async said(want) {
            while (!text(out).includes(want)) {
                if (child.exitCode !== null || child.signalCode !== null || barked)
                    throw new Error(`ended without saying ${want}: ${text(out)}${text(err)}`)
                await sleep(10)
            }
        },
        async processes() {
            for (;;) {
                look()
                const holder = childrenOf(supervisor)[0]
                const first = holder && childrenOf(holder)[0]
                const [server, command] = first
                    ? childrenOf(first)
                          .filter((pid) => isServer(pid) !== null)
                          .toSorted(serverFirst)
                    : []
                if (holder && first && server && command && isServer(server))
                    return { supervisor, holder, first, server, command }
                if (child.exitCode !== null || barked) throw new Error(`ended before the command ran: ${text(err)}`)
                await sleep(10)
            }
        },
        async left() {
            const all = () => [
                ...[...seen].filter(([pid, started]) => startOf(pid) === started).map(([pid]) => `process ${pid}`),
                ...everyProcess()
                    .filter((pid) => namespaces.has(namespaceOf(pid) ?? ''))
                    .map((pid) => `process ${pid} in the namespace`),
                ...mountsHere(),
            ]
            // The kernel takes things back a moment after the last process has been waited for.
            for (let tries = 0; tries < 100 && all().length > 0; tries++) await sleep(20)
            const left = all()
            for (const fd of namespaces.values()) closeSync(fd)
            namespaces.clear()
            return left
        },
    }
}

/** A test of a guest waits until fewer than three others run: each is five processes, and loads a program twice. */
export const inTurn =
    (body: Implementation<[]>): Implementation<[]> =>
    async (t) => {
        while (running >= LANES) await sleep(20)
        running++
        try {
            await (body as (t: ExecutionContext) => unknown)(t)
        } finally {
            running--
        }
    }

const LANES = 3
let running = 0

const OWN_NAMESPACE = namespaceOf(process.pid)

function killAll(pids: readonly number[]): void {
    for (const pid of pids)
        try {
            process.kill(pid, 'SIGKILL')
        } catch {
            // gone
        }
}

// All of /proc that is read here can be read whatever the process does: cmdline and maps would wait for one that hangs
// in a page fault.
const read = (path: string): string => {
    try {
        return readFileSync(path, 'latin1')
    } catch {
        return ''
    }
}

const childrenOf = (pid: number): number[] =>
    read(`/proc/${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number)

const descendants = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(descendants)]

const startOf = (pid: number): string | undefined => {
    const stat = read(`/proc/${pid}/stat`)
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
}

/** The namespace of processes; those of the emulated guest are in one of their own. */
function namespaceOf(pid: number): string | undefined {
    try {
        return readlinkSync(`/proc/${pid}/ns/pid`)
    } catch {
        return undefined
    }
}

function hold(namespaces: Map<string, number>, namespace: string, pid: number): void {
    try {
        namespaces.set(namespace, openSync(`/proc/${pid}/ns/pid`, 'r'))
    } catch {
        // it has gone meanwhile
    }
}

const everyProcess = (): number[] =>
    readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .map(Number)

const fuseConnections = (pid: number): number[] =>
    [...read(`/proc/${pid}/mountinfo`).matchAll(/^\d+ \d+ \d+:(\d+) .* - fuse guest-attest /gm)].map(([, n]) =>
        Number(n),
    )

const mountsHere = (): string[] =>
    read('/proc/self/mountinfo')
        .split('\n')
        .filter((line) => line.includes(' guest-attest '))

/** Whether a child of the first process is the server (a session of its own); null while that is not known. */
function isServer(pid: number): boolean | null {
    const stat = read(`/proc/${pid}/stat`)
    const session = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3])
    return stat ? session === pid : null
}

const serverFirst = (a: number, b: number): number => Number(isServer(b)) - Number(isServer(a))
