// The process behind `emulate` that serves the devices; the same program, with a hidden option.
// SPDX-License-Identifier: Apache-2.0

import { readInput } from '#core/files.ts'
import { noFaults, readFaults } from '#emulator/faults.ts'
import type { Emulator, OptionRows, OptionValues } from '#emulator/model.ts'
import { followSupervisor, serve } from '#emulator/serve.ts'
import { note, progress, progressDone } from '../term.ts'

/** Serves until the guest has ended. @throws AttestError what the model says, ERR_EMULATOR_FAULTS */
export async function runServer(
    emulator: Emulator,
    options: OptionValues<OptionRows>,
    faults: string | undefined,
): Promise<void> {
    followSupervisor()
    const model = await emulator.model(options, { now: new Date(), progress })
    progressDone()
    const plan = faults === undefined ? noFaults : readFaults(readInput(faults), faults, model, await emulator.faults())
    note(`${model.title} is emulated here: what it says proves nothing`)
    await serve(model, plan, note)
}
