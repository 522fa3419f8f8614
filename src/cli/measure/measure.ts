// `measure X`: predicts the measurement of a guest. What was assumed and what cannot be predicted is part of the answer.
// SPDX-License-Identifier: Apache-2.0

import type { Measure, Prediction } from '#evidence/measure.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { columns, note, print, printJson } from '../term.ts'
import { describeInputs, measureOptions, readMeasureValues } from './options.ts'

/** The command of one technology. */
export function measureCommand(tee: string, { options: rows, examples, details, measure }: Measure) {
    return define({
        options: { ...measureOptions(rows), ...JSON_OPTION },
        examples,
        details,
        async run(args) {
            const values = readMeasureValues(rows, args)
            const prediction = measure(values)
            if (args.json) printJson({ tee, ...prediction, inputs: describeInputs(rows, values) })
            else show(prediction)
            return 0
        },
    })
}

function show({ measurements, coverage, coverageNote, assumed, unpredicted }: Prediction): void {
    for (const line of columns(Object.entries(measurements).map(([name, value]) => [name, value]))) print(line)
    print(`coverage: ${coverage}: ${coverageNote}`)
    for (const text of assumed) note(`assumed: ${text}`)
    for (const [name, why] of Object.entries(unpredicted)) note(`not predicted: ${name}: ${why}`)
}
