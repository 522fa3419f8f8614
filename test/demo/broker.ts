// The broker of a story: the real one, which can be killed and comes back at the same address.
// SPDX-License-Identifier: Apache-2.0

import type { ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Place, Shell, Step } from './shell.ts'

export interface Broker {
    /** What it says of itself. */
    readonly url: string
    readonly pin: string
    /** Serves, by these words of trust; shows what it prints. */
    start(trust?: string): Promise<void>
    /** Kills it, and starts it again while a step in a guest waits for it. */
    crash(shell: Shell, step: Step): Promise<void>
}

export function openBroker(folder: string, background: (place: Place, command: string) => ChildProcess): Broker {
    const log = join(folder, 'broker.log')
    let child: ChildProcess | undefined
    let [url, pin, words] = ['', '', '']

    async function serve(listen: string): Promise<void> {
        writeFileSync(log, '')
        const started = background(
            'owner',
            `guest-attest broker serve --data broker --listen ${listen}${words} 2>broker.log`,
        )
        child = started
        const said = (): string => readFileSync(log, 'utf8')
        for (let i = 0; i < 300 && !/serving/.test(said()) && started.exitCode === null; i++) await sleep(50)
        for (const line of said().split('\n')) if (/WARNING|the key of|serving/.test(line)) console.log(`    ${line}`)
        url = /serving (\S+);/.exec(said())?.[1] ?? ''
        pin = /the key of this broker is (\S+)/.exec(said())?.[1] ?? ''
    }

    return {
        get url() {
            return url
        },
        get pin() {
            return pin
        },
        async start(trust) {
            words = trust === undefined ? '' : ` ${trust}`
            await serve('127.0.0.1:0')
        },
        async crash(shell, step) {
            const { host } = new URL(url)
            child?.kill('SIGKILL')
            shell.note('the broker is killed (kill -9) and started again: a guest that unlocks meanwhile waits for it')
            const unlocking = shell.run(step)
            await sleep(2500)
            await serve(host)
            await unlocking
        },
    }
}
