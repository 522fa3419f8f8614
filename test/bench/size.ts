// What the initrd's program adds to an initrd and to a guest's memory, against the bare runtime that it is made of: Node,
// stripped, with the libraries that it loads. zstd -9 is what Debian's initramfs-tools pack with unless told.
// SPDX-License-Identifier: Apache-2.0

import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildExecutable, linkPins } from '#packaging/executable.ts'
import { isProgram } from '../machine.ts'
import { atMost, median, type Row } from './table.ts'

const ROUNDS = 9
const MB = 1e6
/** What an initrd may grow by. */
const MOST_MB = 37
/** Libraries that every initrd has already, because cryptsetup does. */
const THERE = /\/(?:libc|libm|ld-linux-[^/]+|libdl|libpthread)\.so[.\d]*$/

export async function benchSize(): Promise<Row[]> {
    const missing = ['zstd', 'strip', 'ldd'].filter((name) => !isProgram(name))
    if (missing.length > 0) {
        console.log(`  size: not run, needs ${missing.join(', ')}`)
        return []
    }
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-bench-'))
    try {
        const { path, runtime } = await buildExecutable('guest-attest-initrd', { out: folder, library: folder })
        linkPins(folder)
        const koffi = join(folder, 'koffi.node')
        const bare = join(folder, 'node')
        must('strip', ['--strip-all', '-o', bare, runtime])
        const ours = packed([path, koffi, ...libraries(path), ...libraries(koffi)])
        const theirs = packed([bare, ...libraries(bare)])
        const grown = atMost('growth of an initrd, zstd -9', 'Node and its libraries', ours / MB, theirs / MB, 0, 'MB')

        const [pinMemory, nodeMemory] = [[] as number[], [] as number[]]
        for (let i = 0; i < ROUNDS; i++) {
            pinMemory.push(await memoryOf(join(folder, 'clevis-decrypt-kbs'), []))
            nodeMemory.push(await memoryOf(bare, ['-e', 'fs.readFileSync(0)']))
        }
        return [
            { ...grown, budget: `≤ ${MOST_MB} MB`, within: ours <= MOST_MB * MB },
            atMost('memory of the pin’s program', 'an empty Node', median(pinMemory), median(nodeMemory), 1.6, 'MB'),
        ]
    } finally {
        rmSync(folder, { recursive: true })
    }
}

/** Files that a program or library loads. */
function libraries(path: string): string[] {
    const text = must('ldd', [path]).toString()
    return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)]
        .map(([, file = '']) => file)
        .filter((file) => !THERE.test(file))
        .map((file) => realpathSync(file))
}

function packed(files: readonly string[]): number {
    const bytes = Buffer.concat([...new Set(files)].map((file) => readFileSync(file)))
    return must('zstd', ['-9', '-q', '-c', '-T0'], bytes).length
}

/** The most that it has held, when everything is loaded and it waits for its standard input. */
async function memoryOf(program: string, args: readonly string[]): Promise<number> {
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env
    const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'ignore'], env })
    const ended = new Promise((resolve) => child.once('close', resolve))
    const held = (): number => {
        const status = readFileSync(`/proc/${child.pid}/status`, 'latin1')
        return (Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024) / MB
    }
    let most = 0
    for (let steady = 0; steady < 5; ) {
        await sleep(100)
        const now = held()
        steady = now > most ? 0 : steady + 1
        most = now
    }
    child.stdin.end()
    await ended
    return most
}

function must(program: string, args: readonly string[], input?: Uint8Array): Buffer {
    const { status, stdout, stderr } = spawnSync(program, args, { input, maxBuffer: 1024 * MB })
    if (status !== 0) throw new Error(`${program}: ${stderr}`)
    return stdout
}
