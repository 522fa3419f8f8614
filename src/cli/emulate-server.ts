// The process behind `emulate` that serves the devices; the same program, with a hidden option.
// SPDX-License-Identifier: Apache-2.0

import { readInput } from '#core/files.ts'
import { noFaults, readFaults } from '#emulator/faults.ts'
import type { EmulatorOptions } from '#emulator/model.ts'
import { followSupervisor, serve } from '#emulator/serve.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { note, progressDone } from './term.ts'

/** Serves until the guest has ended. @throws AttestError what the model says, ERR_EMULATOR_FAULTS */
export async function runServer(
    emulator: NonNullable<Plugin['emulator']>,
    options: EmulatorOptions,
    faults: string | undefined,
): Promise<void> {
    followSupervisor()
    const model = await emulator(options)
    progressDone()
    const plan = faults === undefined ? noFaults : readFaults(readInput(faults), faults, model)
    note(`${model.title} is emulated here: what it says proves nothing`)
    await serve(model, plan, note)
}
