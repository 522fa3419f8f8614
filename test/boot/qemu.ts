// One boot under QEMU without KVM: the console is read line by line, what a person would type is typed, and the machine is
// killed when its time is over.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { appendFileSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'

export interface Machine {
    readonly kernel: string
    readonly initrd: string
    readonly commandLine: string
    readonly drives: readonly string[]
    readonly network: readonly string[]
    readonly memoryMiB?: number
    readonly timeoutS: number
    /** What is typed when the console says something, once each. */
    readonly types?: readonly { readonly at: RegExp; readonly text: string }[]
    /** The resolver of the host's side of the network, instead of this machine's. */
    readonly resolver?: string
    /** Told of each line. */
    readonly onLine?: (line: string, sinceStartS: number) => void
    /** Where the console is written as it comes. */
    readonly log?: string
    /** The machine is switched off when this holds of its console. */
    readonly stopWhen?: (console: string) => boolean
}

export interface Booted {
    readonly console: string
    readonly seconds: number
    /** It did not switch itself off in time. */
    readonly timedOut: boolean
}

const QEMU = [
    ...['qemu-system-x86_64', '-machine', 'q35,sata=off,usb=off', '-accel', 'tcg,thread=multi'],
    // cx16=off: QEMU 7.2 corrupts flags around cmpxchg16b, and the guest's kernel panics now and then.
    ...['-cpu', 'max,cx16=off', '-smp', '2', '-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-object', 'rng-random,id=rng0,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng0'],
]

// QEMU translates code anew for each virtual address that it runs at: with randomised addresses every process costs what
// the first one did, and a boot takes a third longer.
const WORDS = 'console=ttyS0 panic=-1 norandmaps'

/** What a guest that was seen to wait may still do. */
const GRACE_MS = 3000

/** Between a prompt and the first key: whoever asks turns off the echo behind its prompt, and nobody types sooner. */
const REACTION_MS = 1000

const running = new Set<() => void>()

/** Switches every machine off. */
export const stopAll = (): void => running.forEach((stop) => void stop())

/** A user-mode network: the host is 10.0.2.2. */
export const USER_NETWORK = ['-netdev', 'user,id=n0', '-device', 'virtio-net-pci,netdev=n0,romfile=']

/** A network card that nobody answers on. */
export const DEAD_NETWORK = ['-netdev', 'hubport,id=dead,hubid=7', '-device', 'virtio-net-pci,netdev=dead,romfile=']

export const fileDrive = (path: string, format = 'raw'): string => `file=${path},format=${format},if=virtio,snapshot=on`

export function boot(machine: Machine): Promise<Booted> {
    const { kernel, initrd, commandLine, drives, network, memoryMiB = 1536, timeoutS, types = [], resolver } = machine
    const qemu = [
        ...['timeout', '--kill-after=5', String(timeoutS), ...QEMU, '-m', String(memoryMiB)],
        ...['-kernel', kernel, '-initrd', initrd, '-append', `${WORDS} ${commandLine}`],
        ...drives.flatMap((drive) => ['-drive', drive]),
        ...network,
    ]
    const command = resolver
        ? [
              'unshare',
              '--mount',
              '--propagation',
              'private',
              'sh',
              '-ec',
              `mount --bind ${resolver} /etc/resolv.conf; exec "$@"`,
              'qemu',
              ...qemu,
          ]
        : qemu
    const [file = '', ...words] = command
    const started = performance.now()
    const seconds = () => (performance.now() - started) / 1000
    const child = spawn(file, words, { stdio: ['pipe', 'pipe', 'pipe'], detached: true })
    let console = ''
    let rest = ''
    const open = new Set(types)
    let stopping: NodeJS.Timeout | undefined
    // `timeout` passes the signal on.
    const stop = () => child.kill('SIGTERM')
    running.add(stop)
    child.stdin.on('error', () => undefined)
    child.stderr.on('data', (chunk: Buffer) => (console += `QEMU: ${chunk}`))
    child.stdout.on('data', (chunk: Buffer) => {
        rest += stripVTControlCharacters(chunk.toString('latin1')).replaceAll('\r', '')
        // A prompt is the beginning of a line.
        for (const input of open)
            if (input.at.test(console + rest)) {
                open.delete(input)
                setTimeout(() => child.stdin.write(input.text), REACTION_MS)
            }
        for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
            const line = rest.slice(0, end)
            rest = rest.slice(end + 1)
            console += `${line}\n`
            if (machine.log) appendFileSync(machine.log, `${line}\n`)
            machine.onLine?.(line, seconds())
        }
        if (machine.stopWhen?.(console) && !stopping) stopping = setTimeout(stop, GRACE_MS)
    })
    return new Promise((resolve, reject) => {
        child.once('error', reject)
        child.once('close', (code) =>
            resolve({ console: console + rest, seconds: seconds(), timedOut: code === 124 || code === 137 }),
        )
    })
}
