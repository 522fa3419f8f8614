// `sev validate`, word for word as virt-qemu-sev-validate was called: the rows of the vectors' manifest, in this process.
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import yargs from 'yargs'
import { addCommands } from '#cli/command.ts'
import { complain } from '#cli/term.ts'
import { secret } from '#core/bytes.ts'
import { openPacket } from '#plugins/sev/launch/packet.ts'
import { temporaryFolder } from '../folder.ts'
import { vectors } from '../machine.ts'
import { needs } from '../needs.ts'
import { FOLDER, fixture, MANIFEST, valuesAfter, valuesOf, wordsOf } from '../plugins/sev/manifest.ts'

const possible = needs(vectors('sev/manifest.tsv'))

/** Both versions of the program gave the same answers to the same words. */
const ROWS = MANIFEST.filter(({ tool }) => tool === 'virt-qemu-sev-validate-11.3.0')

/** The exit status of `sev validate`. */
async function validate(words: readonly string[]): Promise<number> {
    const call = { name: '', words: '', exit: -1 }
    const program = yargs([...words, '--quiet'])
        .strict()
        .exitProcess(false)
        .parserConfiguration({ 'populate--': true, 'greedy-arrays': false })
        .fail((message, error) => {
            throw error ?? new Error(message)
        })
    addCommands(program, [{ signature: '$0', describe: '', load: () => import('#cli/sev/validate.ts') }], '', call)
    try {
        await program.parseAsync()
    } catch (error) {
        return complain(error)
    }
    return call.exit
}

/** The words of a row, with the files where they are. */
const wordsIn = (command: string): string[] =>
    wordsOf(command)
        .slice(1)
        .map((word) => word.replace(/(^|:)(inputs\/)/, (_, before, path) => `${before}${FOLDER}/${path}`))

const numberOf = (words: readonly string[], option: string): number => Number(valuesAfter(words, option)[0])

possible('the same digests: good measurements, bad ones, policies and firmware that are refused', async (t) => {
    const rows = ROWS.filter(({ output }) => output.startsWith('measured_data_sha256='))
    let refused = 0
    for (const { command, output, line } of rows) {
        const words = wordsIn(command)
        const blob = valuesOf(output)('launch_measure_b64')
        const old = numberOf(words, '--api-major') === 0 && numberOf(words, '--api-minor') < 17
        const bad = Buffer.from(blob, 'base64').fill(0, 5, 6).toString('base64')
        const plain = await validate([...words, '-m', blob])
        t.is(await validate([...words, '-m', blob, '--insecure']), old ? 3 : 0, `line ${line}`)
        t.is(await validate([...words, '-m', bad, '--insecure']), old ? 3 : 1, `line ${line}`)
        const weak = (numberOf(words, '--policy') & 3) !== 3
        if (old || weak) t.is(plain, 3, `line ${line}`)
        else t.true(plain === 0 || (plain === 4 && command.includes('--kernel')), `line ${line}: ${plain}`)
        if (plain !== 0) refused++
    }
    t.log(
        `${rows.length} rows, of which ${refused} need --insecure or are refused: weak policies, no place for hashes, API 0.16`,
    )
})

possible('the same refusals', async (t) => {
    const rows = ROWS.filter(({ output }) => output.startsWith('ERR rc='))
    t.is(rows.length, 2)
    for (const { command, output, line } of rows) {
        const measurement = Buffer.alloc(48).toString('base64')
        t.is(await validate([...wordsIn(command), '-m', measurement]), Number(output[7]), `line ${line}`)
    }
})

possible('the same secrets', async (t) => {
    const rows = ROWS.filter(({ output }) => output.startsWith('rc=0 header_b64='))
    for (const { command, output, line } of rows) {
        const words = wordsIn(command)
        const folder = temporaryFolder(t)
        const [header, payload] = [join(folder, 'h'), join(folder, 'p')]
        const more = ['--secret-header', header, '--secret-payload', payload]
        const code = await validate([...words, ...more])
        t.is(code, 0, `line ${line}`)
        const [both] = valuesAfter(wordsOf(command), '--tk').map(fixture)
        const [tek, tik] = both
            ? [both.subarray(0, 16), both.subarray(16)]
            : ['--tek', '--tik'].map((option) => fixture(valuesAfter(wordsOf(command), option)[0] ?? ''))
        const keys = { tek: secret(Buffer.from(tek ?? '')), tik: secret(Buffer.from(tik ?? '')) }
        const measure = Buffer.from(valuesAfter(words, '-m')[0] ?? '', 'base64').subarray(0, 32)
        const base64 = (path: string) => Buffer.from(readFileSync(path, 'latin1'), 'base64')
        const ours = openPacket(keys, measure, { header: base64(header), payload: base64(payload) })
        const wanted = valuesOf(output)
        const theirs = openPacket(keys, measure, {
            header: Buffer.from(wanted('header_b64'), 'base64'),
            payload: Buffer.from(wanted('payload_b64'), 'base64'),
        })
        t.deepEqual(ours, theirs.subarray(0, ours.length), `line ${line}`)
    }
    t.log(`${rows.length} rows`)
})

test('the rows that are asked here are all of that program', (t) => {
    const kinds = [/^measured_data_sha256=/, /^ERR rc=/, /^rc=0 header_b64=/]
    t.deepEqual(
        ROWS.filter(({ output }) => !kinds.some((kind) => kind.test(output))),
        [],
    )
})
