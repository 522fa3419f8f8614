// `measure X`: predicts the measurement of a guest. What was assumed and what cannot be predicted is part of the answer.
// With --match the other way: which inputs lead to a measurement that somebody saw.
// SPDX-License-Identifier: Apache-2.0

import { dirname } from 'node:path'
import { makeFolder, writeFiles } from '#core/files.ts'
import type { Measure, Prediction } from '#evidence/measure.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { command as define, JSON_OPTION } from '../command.ts'
import { requireNewFile } from '../options/new-file.ts'
import { columns, note, print, printJson } from '../term.ts'
import { describeInputs, measureOptions, readMeasureValues } from './options.ts'

/** The command of one technology; the verifier reads the evidence that --match names. */
export function measureCommand(
    tee: string,
    { options: rows, examples, details, measure, search, alone }: Measure,
    verifier?: Plugin['verifier'],
) {
    const match = search
        ? {
              match: {
                  type: 'string',
                  describe: 'search what leads to this: a measurement in hex, or evidence',
              } as const,
          }
        : {}
    return define({
        options: { ...measureOptions(rows), ...match, ...JSON_OPTION },
        examples,
        details,
        async run(args) {
            const values = readMeasureValues(rows, args)
            const wanted = args['match'] as string | undefined
            if (search && wanted !== undefined) {
                const { matchCommand } = await import('./match.ts')
                return matchCommand({ tee, search, verifier, values, wanted, json: args.json })
            }
            const prediction = measure(values)
            writePages(prediction)
            const { inForce = {}, files, ...rest } = prediction
            if (args.json) printJson({ tee, ...rest, inputs: { ...describeInputs(rows, values), ...inForce } })
            else show(prediction, alone ?? false)
            return 0
        },
    })
}

function show(
    { measurements, coverage, coverageNote, assumed, unpredicted, also = {} }: Prediction,
    alone: boolean,
): void {
    if (alone) for (const value of Object.values(measurements)) print(value)
    else for (const line of columns(Object.entries(measurements).map(([name, value]) => [name, value]))) print(line)
    for (const [name, value] of Object.entries(also)) print(`${name}=${value}`)
    const covers = `coverage: ${coverage}: ${coverageNote}`
    if (alone) note(covers)
    else print(covers)
    for (const text of assumed) note(`assumed: ${text}`)
    for (const [name, why] of Object.entries(unpredicted)) note(`not predicted: ${name}: ${why}`)
}

function writePages({ files = [] }: Prediction): void {
    for (const folder of new Set(files.map(({ path }) => dirname(path)))) makeFolder(folder, 0o755)
    for (const { path } of files) requireNewFile(path, '--dump-vmsa')
    writeFiles(files.map((file) => ({ ...file, mode: 0o644 })))
}
