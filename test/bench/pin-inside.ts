// What pin.ts runs inside the emulated guest: the two programs in turn, their results checked, their times written down.
// SPDX-License-Identifier: Apache-2.0

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inTurn, milliseconds } from './table.ts'

const ROUNDS = 31
const folder = process.argv[2] ?? ''
const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env // Node reads a whole bundle of certificates because of it

const timed = (program: string, args: string[], input: Buffer, want: string) => () =>
    milliseconds(() => {
        const { status, stdout, stderr } = spawnSync(program, args, { input, env })
        if (status !== 0 || stdout.toString() !== want) throw new Error(`${program}: ${status} ${stderr}`)
    })

const read = (name: string): Buffer => readFileSync(join(folder, name))
const decrypt = join(folder, 'clevis-decrypt-kbs')
const kbs = timed(decrypt, [], read('kbs.jwe'), 'passphrase')
const tang = timed('clevis-decrypt-tang', [], read('tang.jwe'), 'passphrase')
const encrypt = join(folder, 'clevis-encrypt-kbs')
const summary = spawnSync(encrypt, ['--summary'], { env }).stdout.toString()
const start = timed(encrypt, ['--summary'], Buffer.alloc(0), summary)
const empty = timed(process.execPath, ['-e', '0'], Buffer.alloc(0), '')

await inTurn(3, kbs, tang)
const times = [...(await inTurn(ROUNDS, kbs, tang)), ...(await inTurn(ROUNDS, start, empty))]
writeFileSync(join(folder, 'times.json'), JSON.stringify(times))
