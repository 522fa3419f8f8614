// The real tangd on a loopback port, for tests and benchmarks that compare with it or compose with it.
// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from './cli/run.ts'

const TANGD = '/usr/libexec/tangd'

export interface Tang {
    readonly url: string
    stop(): void
}

/** Its keys live in a folder within `folder`. */
export async function startTang(folder: string): Promise<Tang> {
    const keys = join(folder, 'tang')
    mkdirSync(keys)
    await run(`${TANGD}-keygen`, [keys])
    const port = await freePort()
    const server = spawn('socat', [`TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr`, `EXEC:${TANGD} ${keys}`], {
        stdio: 'ignore',
    })
    for (let i = 0; i < 100 && !(await answers(port)); i++) await sleep(20)
    return { url: `http://127.0.0.1:${port}`, stop: () => void server.kill('SIGKILL') }
}

async function freePort(): Promise<number> {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    return port
}

const answers = (port: number): Promise<boolean> =>
    new Promise((resolve) => {
        const socket = connect(port, '127.0.0.1')
        socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
        socket.once('connect', () => socket.destroy())
    })
