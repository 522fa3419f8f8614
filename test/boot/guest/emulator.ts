// The emulated chip of a test guest: serves /dev/sev-guest through /dev/cuse, with the vendor's keys that the host has made
// and given to it. A test-only program: nothing of it is in a package of the product.
//   emulator.mjs FOLDER     vendor/ as `emulate --trust-dir` writes it, launch.json {measurement: HEX}
// SPDX-License-Identifier: Apache-2.0

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { serveCuse } from '#emulator/cuse-serve.ts'
import { snpModel } from '#plugins/snp/emulated/model.ts'

const folder = process.argv[2] ?? '/etc/guest-attest-emulator'
const { measurement } = JSON.parse(readFileSync(join(folder, 'launch.json'), 'utf8')) as { measurement: string }
const note = (text: string) => console.error(`guest-attest-emulator: ${text}`)

const model = await snpModel(
    { trustDir: join(folder, 'vendor'), measurement: Buffer.from(measurement, 'hex') },
    { now: new Date(), progress: note },
)
note(model.title)
await serveCuse(model, note)
