// The emulated chip of a test guest: serves the device of its technology through /dev/cuse, with the vendor's keys that the
// host has made and given to it. A test-only program: nothing of it is in a package of the product.
//   emulator.mjs FOLDER     vendor/ as `emulate --trust-dir` writes it, launch.json {tee: NAME, options: of its emulator}
// When its devices are there it makes the file READY.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { serveCuse } from '#emulator/cuse-serve.ts'
import type { OptionRows, OptionValues } from '#emulator/model.ts'
import { pluginOf } from '#plugins.ts'

const READY = '/run/guest-attest-emulator'

/** Numbers and bytes are text in JSON. */
interface Launch {
    readonly tee: string
    readonly options: Readonly<Record<string, string>>
}

const READERS = {
    bytes: (text: string) => Buffer.from(text, 'hex'),
    word: BigInt,
    number: Number,
    text: String,
} as const

const folder = process.argv[2] ?? '/etc/guest-attest-emulator'
const { tee, options } = JSON.parse(readFileSync(join(folder, 'launch.json'), 'utf8')) as Launch
const note = (text: string) => console.error(`guest-attest-emulator: ${text}`)

const emulator = await pluginOf(tee).emulator?.()
if (!emulator) throw new Error(`${tee} cannot be emulated`)
const given = Object.entries({ ...options, trustDir: join(folder, 'vendor') }).map(([name, text]) => [
    name,
    READERS[emulator.options[name]?.type ?? 'text'](text),
])
const model = await emulator.model(Object.fromEntries(given) as OptionValues<OptionRows>, {
    now: new Date(),
    progress: note,
})
note(model.title)
const served = serveCuse(model, note)
const devices = Object.keys(model.devices).map((name) => `/dev/${name}`)
while (!devices.every((path) => existsSync(path))) await sleep(50)
writeFileSync(READY, '')
await served
