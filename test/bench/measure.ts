// Launch digests against `openssl dgst` over the same bytes, and against the calculator in Python where it is installed.
// Ours without the start of the program, which the budget allows on top; theirs with it, but for Python's.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readMeasureValues } from '#cli/measure/options.ts'
import type { Measure } from '#evidence/measure.ts'
import { sevMeasure } from '#plugins/sev/measure.ts'
import { snpMeasure } from '#plugins/snp/measure.ts'
import { firmware } from '../core/launch/firmware.ts'
import { isProgram } from '../machine.ts'
import { atLeast, atMost, inTurn, milliseconds, type Row } from './table.ts'

const MIB = 1024 * 1024
const ROUNDS = 21
const PYTHON = 'sev-snp-measure'

export async function benchMeasure(): Promise<Row[]> {
    if (!isProgram('openssl')) {
        console.log('  launch digests: not run, need openssl')
        return []
    }
    const folder = mkdtempSync(join(tmpdir(), 'guest-attest-bench-'))
    const file = (name: string, bytes: Buffer) => {
        writeFileSync(join(folder, name), bytes)
        return join(folder, name)
    }
    try {
        const image = file('firmware', firmware({ size: 16 * MIB }))
        const small = file('small', firmware({ size: 4 * MIB }))
        const kernel = file('kernel', Buffer.alloc(16 * MIB, 1))
        const initrd = file('initrd', Buffer.alloc(128 * MIB, 2))
        const boot = { firmware: small, kernel, initrd, append: 'console=ttyS0' }
        const processors = { vcpus: 8, vcpuType: 'EPYC-Milan', vmm: 'QEMU' }
        const rows = [
            {
                what: 'SEV launch digest, 148 MiB with kernel and initrd',
                ours: () => measure(sevMeasure, boot),
                theirs: () => openssl('-sha256', small, kernel, initrd),
            },
            {
                what: 'SNP launch digest, firmware of 16 MiB',
                ours: () => measure(snpMeasure, { firmware: image, ...processors }),
                theirs: () => openssl('-sha384', image),
            },
        ]
        const out: Row[] = []
        for (const { what, ours, theirs } of rows) {
            await inTurn(
                5,
                () => milliseconds(ours),
                () => milliseconds(theirs),
            )
            const [mine, other] = await inTurn(
                ROUNDS,
                () => milliseconds(ours),
                () => milliseconds(theirs),
            )
            out.push(atMost(what, '`openssl dgst` of the same bytes', mine, other, 1.5, 'ms'))
        }
        return [...out, ...(await againstPython(image, processors))]
    } finally {
        rmSync(folder, { recursive: true })
    }
}

async function againstPython(image: string, processors: Readonly<Record<string, unknown>>): Promise<Row[]> {
    if (!isProgram(PYTHON)) return []
    const words = ['--mode', 'snp', '--vcpus', '8', '--vcpu-type', 'EPYC-Milan', '--ovmf', image]
    const [ours, theirs] = await inTurn(
        5,
        () => milliseconds(() => measure(snpMeasure, { firmware: image, ...processors })),
        async () =>
            (await milliseconds(() => run(PYTHON, words))) - (await milliseconds(() => run(PYTHON, ['--help']))),
    )
    return [
        atLeast('SNP launch digests in a second', `${PYTHON} without its start`, 1000 / ours, 1000 / theirs, 20, '/s'),
    ]
}

// As the command line does it, with the files read anew.
function measure(of: unknown, given: Readonly<Record<string, unknown>>): void {
    const { options, measure: predict } = of as Measure
    predict(readMeasureValues(options, given))
}

const openssl = (algorithm: string, ...files: readonly string[]): void => run('openssl', ['dgst', algorithm, ...files])

function run(program: string, words: readonly string[]): void {
    const { status, stderr } = spawnSync(program, words, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`${program}: ${stderr}`)
}
