// A relay as a process of its own.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Ending } from '../folder.ts'
import { MAIN } from './run.ts'

export interface RelayProcess {
    /** Where it listens, as it says. */
    readonly address: string
    /** What it wrote to standard error. */
    readonly log: readonly string[]
    /** Of its lines those that are a connection's, when there are so many. */
    connections(count: number): Promise<readonly Record<string, unknown>[]>
    /** Its exit status. */
    end(signal?: NodeJS.Signals): Promise<number | null>
}

/** `guest-attest relay ARGS…`, until the test ends. */
export async function relayProcess(ending: Ending, ...args: readonly string[]): Promise<RelayProcess> {
    const child = spawn(process.execPath, [MAIN, 'relay', ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    ending.teardown(() => child.kill('SIGKILL'))
    const exited = once(child, 'exit') as Promise<[number | null]>
    const log: string[] = []
    const lines = createInterface({ input: child.stderr })
    const address = await new Promise<string>((resolve, reject) => {
        lines.on('line', (line) => {
            log.push(line)
            const found = /: relaying (?:for the relay at )?(.+?)(?:, which it calls,)? to /.exec(line)?.[1]
            if (found) resolve(found)
        })
        void exited.then(() => reject(new Error(`the relay ended: ${log.join('\n')}`)))
    })
    const told = () => log.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
    return {
        address,
        log,
        async connections(count) {
            while (told().length < count) await once(lines, 'line')
            return told()
        },
        async end(signal = 'SIGTERM') {
            child.kill(signal)
            const [code] = await exited
            return code
        },
    }
}
