// Where a story plays: a folder, a configuration that owner and guests share, a broker, and shells in emulated guests.
// SPDX-License-Identifier: Apache-2.0

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Broker, openBroker } from './broker.ts'
import { openShell, type Place, PROMPTS, type Shell } from './shell.ts'

export type Story = (scene: Scene) => Promise<void>

export interface Scene {
    readonly tee: string
    readonly folder: string
    readonly broker: Broker
    /** What went wrong so far. */
    readonly failures: readonly string[]
    /** A shell whose guest is emulated with these options. */
    shell(...emulate: readonly string[]): Shell
    /** Writes a file into the folder. */
    write(name: string, content: string | Buffer, mode?: number): void
    /** Starts what goes on while the story does; it ends with the scene at the latest. */
    background(place: Place, command: string): ChildProcess
    /** Ends what still runs; the folder goes too, unless it is to be kept. */
    end(keep: boolean): void
}

export function openScene(tee: string): Scene {
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-demo-'))
    const bin = join(folder, 'bin')
    const config = join(folder, 'etc')
    for (const made of [bin, config]) mkdirSync(made)
    const programs = fileURLToPath(new URL('../../packaging/bin', import.meta.url))
    const env = {
        ...process.env,
        GUEST_ATTEST_CONFIG: config,
        PATH: [bin, programs, join(process.execPath, '..'), process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
    }
    const failures: string[] = []
    const running: ChildProcess[] = []
    const background = (place: Place, command: string): ChildProcess => {
        console.log(`${PROMPTS[place]} ${command} &`)
        const child = spawn('sh', ['-c', `exec ${command}`], { env, cwd: folder, stdio: 'ignore' })
        running.push(child)
        return child
    }
    const write: Scene['write'] = (name, content, mode = 0o644) => writeFileSync(join(folder, name), content, { mode })
    write('etc/config.toml', '[drivers]\nspacingMs = 100 # an emulated host does not throttle\n')

    return {
        tee,
        folder,
        failures,
        broker: openBroker(folder, background),
        shell: (...emulate) =>
            openShell({ env, cwd: folder, failures }, (command) => [
                ...['guest-attest', 'emulate', '--tee', tee, ...emulate],
                ...['--', 'sh', '-c', command],
            ]),
        write,
        background,
        end(keep) {
            for (const child of running) child.kill('SIGKILL')
            if (keep)
                console.log(
                    `\nkept: ${folder}; try: export GUEST_ATTEST_CONFIG=${config} PATH=${bin}:${programs}:$PATH; cd ${folder}`,
                )
            else rmSync(folder, { recursive: true, force: true })
        },
    }
}
