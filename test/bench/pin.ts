// `clevis-decrypt-kbs` against `clevis-decrypt-tang`, each as a whole process, cold, in turn. Ours does a TLS handshake, a
// challenge, evidence from the (emulated) device, verification, release with its audit record, and decryption; tang's is
// plain HTTP to tangd. And the bare start of the pin's program against an empty one.
// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildExecutable, linkPins } from '#packaging/executable.ts'
import { run } from '../cli/run.ts'
import { FUSE, isProgram } from '../machine.ts'
import { KEY_PATH, openStage } from '../stage.ts'
import { startTang } from '../tang.ts'
import { atMost, type Row } from './table.ts'

const INSIDE = fileURLToPath(new URL('./pin-inside.ts', import.meta.url))

export async function benchPin(): Promise<Row[]> {
    const missing = [
        ...['clevis', 'tangd', 'socat', 'jose'].filter((name) => !isProgram(name)),
        ...(FUSE.met ? [] : ['/dev/fuse']),
    ]
    if (missing.length > 0) {
        console.log(`  the pin: not run, needs ${missing.join(', ')}`)
        return []
    }
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-bench-'))
    const stage = await openStage()
    const tang = await startTang(folder)
    try {
        // An emulated device is not let in by the role of the initrd.
        await buildExecutable('guest-attest-initrd', { out: folder, library: folder, role: 'full' })
        linkPins(folder)
        const config = JSON.stringify({ url: stage.url, path: KEY_PATH })
        const ours = await stage.guest([join(folder, 'clevis-encrypt-kbs'), config], {
            input: 'passphrase',
        })
        const theirs = await run('clevis', ['encrypt', 'tang', JSON.stringify({ url: tang.url }), '-y'], {
            input: 'passphrase',
        })
        if (ours.code !== 0 || theirs.code !== 0) throw new Error(`${ours.stderr}${theirs.stderr}`)
        writeFileSync(join(folder, 'kbs.jwe'), ours.stdout)
        writeFileSync(join(folder, 'tang.jwe'), theirs.stdout)
        const inside = await stage.guest([process.execPath, INSIDE, folder], { timeoutMs: 300_000 })
        if (inside.code !== 0) throw new Error(inside.stderr)
        const [pin, tangMs, start, empty] = JSON.parse(readFileSync(join(folder, 'times.json'), 'utf8')) as [
            number,
            number,
            number,
            number,
        ]
        return [
            atMost('clevis-decrypt-kbs, cold', 'clevis-decrypt-tang', pin, tangMs, 0.85, 'ms'),
            atMost("start of the pin's program", 'node -e 0', start, empty, 1.6, 'ms'),
        ]
    } finally {
        tang.stop()
        await stage.close()
        rmSync(folder, { recursive: true })
    }
}
