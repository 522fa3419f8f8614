// Whatever of an emulator dies, hangs or is left behind: no process, no mount and no connection stays, and nobody waits
// for ever. Each guest runs under the watchdog of guest.ts; a test in which it had to bite has failed.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext, type Implementation } from 'ava'
import { openVendor } from '#plugins/snp/emulated/vendor.ts'
import { temporaryFolder } from '#test/folder.ts'
import { MAIN } from '../cli/run.ts'
import { FUSE, programs } from '../machine.ts'
import { needs } from '../needs.ts'
import { emulate, type Guest, type GuestOptions, inTurn, type Processes, watched } from './guest.ts'

const possible = needs(FUSE, programs('unshare', 'setsid'))
const it = (title: string, body: Implementation<[]>) => possible(title, inTurn(body))

const CLIENT = fileURLToPath(new URL('./client.ts', import.meta.url))

const work = temporaryFolder({ teardown: test.after.always })
const vendor = join(work, 'vendor')
test.before(async () => {
    await openVendor({ folder: vendor, now: new Date(), progress: () => undefined })
})

const guest = (options: GuestOptions) => emulate({ ...options, args: ['--trust-dir', vendor, ...(options.args ?? [])] })

const slow = join(work, 'slow.toml')
writeFileSync(slow, '[[fault]]\nkind = "delay"\nms = 600_000\n')
const dying = join(work, 'die.toml')
writeFileSync(dying, '[[fault]]\nat = 2\nkind = "die"\n')

/** A command that says that it is there, and then does something. */
const shell = (script: string): GuestOptions => ({ command: ['sh', '-c', `echo here; ${script}`] })

const client = (...words: string[]): string[] => [process.execPath, CLIENT, ...words]

async function nothingLeft(t: ExecutionContext, running: Guest): Promise<void> {
    t.false(running.barked(), `the watchdog had to end it: ${running.err()}`)
    t.deepEqual(await running.left(), [])
}

// The exit status.

for (const { name, script, want } of [
    { name: 'success', script: 'exit 0', want: 0 },
    { name: 'failure', script: 'exit 7', want: 7 },
    { name: 'death by a signal', script: 'kill -TERM $$; sleep 10', want: 128 + 15 },
    { name: 'death by SIGKILL', script: 'kill -KILL $$', want: 128 + 9 },
    { name: 'a command that does not exist', script: 'exec no-such-command', want: 127 },
    { name: 'what it leaves running ends with it', script: 'setsid sleep 1000 & sleep 1000 & exit 3', want: 3 },
    {
        name: 'a daemon that handles every signal ends with it',
        script: "(trap '' HUP INT TERM; while :; do sleep 1; done) & exit 4",
        want: 4,
    },
])
    it(`exit status: ${name}`, async (t) => {
        const running = guest(shell(script))
        t.is(await running.ended, want, running.err())
        await nothingLeft(t, running)
    })

// Signals to the supervisor reach the command, which decides.

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1'] as const)
    it(`${signal} to the supervisor reaches the command`, async (t) => {
        const word = signal.slice(3)
        const running = guest({
            command: ['sh', '-c', `trap 'echo got ${word}; exit 9' ${word}; echo here; while :; do sleep 0.05; done`],
        })
        await running.said('here')
        running.child.kill(signal)
        t.is(await running.ended, 9, running.err())
        t.true(running.out().includes(`got ${word}`))
        await nothingLeft(t, running)
    })

it('a signal that the command does not handle ends it, and the status says which', async (t) => {
    const running = guest(shell('sleep 1000'))
    await running.said('here')
    running.child.kill('SIGTERM')
    t.is(await running.ended, 128 + 15)
    await nothingLeft(t, running)
})

needs(FUSE, programs('script'))(
    'Ctrl-C on a terminal reaches the command, once',
    inTurn(async (t) => {
        const script =
            'on() { count=x$count; sleep 0.3; echo got $count; }; trap on INT; echo re""ady; while :; do sleep 0.05; done'
        const words = `${process.execPath} ${MAIN} emulate --tee snp --trust-dir ${vendor} -- sh -c`.split(' ')
        const line = [...words, script].map((word) => `'${word}'`).join(' ')
        const running = watched(['script', '--quiet', '--return', '--command', line, '/dev/null'], {}, 'pipe', 40_000)
        await running.said('ready')
        running.child.stdin?.write('\x03')
        await running.said('got x\r')
        await sleep(500)
        t.false(running.out().includes('xx'))
        running.child.stdin?.write('\x1c') // SIGQUIT, which it does not handle
        t.is(await running.ended, 128 + 3, running.out())
        await nothingLeft(t, running)
    }),
)

// Sudden deaths.

const KILLS: readonly {
    name: string
    kill: (processes: Processes) => number
    signal: NodeJS.Signals
    want: number | NodeJS.Signals
}[] = [
    { name: 'the supervisor', kill: ({ supervisor }) => supervisor, signal: 'SIGKILL', want: 'SIGKILL' },
    { name: 'the process between', kill: ({ holder }) => holder, signal: 'SIGKILL', want: 128 + 9 },
    // unshare(1) cannot end of SIGKILL as its child did, and says 1
    { name: 'the first process', kill: ({ first }) => first, signal: 'SIGKILL', want: 1 },
    { name: 'the command', kill: ({ command }) => command, signal: 'SIGKILL', want: 128 + 9 },
    { name: 'the command', kill: ({ command }) => command, signal: 'SIGTERM', want: 128 + 15 },
]

for (const { name, kill, signal, want } of KILLS)
    for (const state of ['at rest', 'in an ioctl that takes ten minutes'])
        it(`${signal} to ${name}, ${state}`, async (t) => {
            const resting = state === 'at rest'
            const running = resting
                ? guest(shell('exec sleep 1000'))
                : guest({ args: ['--faults', slow], command: client('hang') })
            await running.said(resting ? 'here' : 'in the ioctl')
            if (!resting) await sleep(200)
            process.kill(kill(await running.processes()), signal)
            const started = performance.now()
            t.is(await running.ended, want, running.err())
            t.true(performance.now() - started < 5000, 'it took too long')
            await nothingLeft(t, running)
        })

for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    it(`${signal} to the server: the caller is told at once that the device has gone`, async (t) => {
        const running = guest({ args: ['--faults', slow], command: client('hang', ',', 'report', 'configfs', '00') })
        await running.said('in the ioctl')
        await sleep(200)
        process.kill((await running.processes()).server, signal)
        const started = performance.now()
        t.is(await running.ended, 0, running.err())
        t.true(performance.now() - started < 5000, 'it took too long')
        t.true(running.out().includes('{"result":-1,"errno":103}'), running.out()) // ECONNABORTED
        t.true(running.out().includes('"ERR_DEVICE_GONE"'), running.out())
        await nothingLeft(t, running)
    })

it('a device that dies by script', async (t) => {
    const commands = ['report', 'ioctl', '01', ',', 'report', 'ioctl', '02', ',', 'report', 'ioctl', '03']
    const running = guest({ args: ['--faults', dying], command: client(...commands) })
    t.is(await running.ended, 0, running.err())
    const answers = running
        .out()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { report?: string; code?: string })
    t.deepEqual(
        answers.map(({ report, code }) => code ?? report?.length),
        [2368, 'ERR_DEVICE_GONE', 'ERR_DEVICE_GONE'],
    )
    t.true(running.err().includes('the device dies now'))
    await nothingLeft(t, running)
})

// A server that is stopped, and a caller that no signal reaches.

async function hanging(t: ExecutionContext): Promise<{ running: Guest; processes: Processes }> {
    const running = guest({
        command: ['sh', '-c', `echo here; read -r line; ${client('hang').join(' ')}`],
        input: 'pipe',
    })
    await running.said('here')
    const processes = await running.processes()
    process.kill(processes.server, 'SIGSTOP')
    running.child.stdin?.write('go\n')
    await sleep(1000) // the client is loaded, and in its open(2) or its ioctl(2)
    t.is(running.child.exitCode, null)
    return { running, processes }
}

for (const { name, of } of [
    { name: 'the supervisor', of: ({ supervisor }: Processes) => supervisor },
    { name: 'the process between', of: ({ holder }: Processes) => holder },
    { name: 'the server', of: ({ server }: Processes) => server },
])
    it(`a stopped server, a caller that waits, SIGKILL to ${name}`, async (t) => {
        const { running, processes } = await hanging(t)
        process.kill(of(processes), 'SIGKILL')
        const started = performance.now()
        await running.ended
        t.true(performance.now() - started < 5000, 'it took too long')
        await nothingLeft(t, running)
    })

it('a stopped server, a caller that waits: the supervisor breaks the connection', async (t) => {
    const { running } = await hanging(t)
    await running.ended
    t.true(running.err().includes('does not answer any more'), running.err())
    await nothingLeft(t, running)
})
