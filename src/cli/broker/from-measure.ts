// `broker reference add --from-measure`: a reference set from what `measure --json` predicted. What the measurement covers
// stands in the prediction; which guests it is compared with is the broker's affair.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { COVERAGES, checkName } from '#broker/decision/references.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { shape } from '#core/schema.ts'
import { PLUGINS } from '#plugins.ts'
import { hint, note, printBytes } from '../term.ts'
import type { admin } from './admin.ts'

interface Asked {
    readonly fromMeasure: readonly string[]
    readonly name?: string | undefined
    readonly coverage?: string | undefined
    readonly file?: unknown
    readonly fromEvidence?: unknown
    readonly fromEventlog?: unknown
    readonly measurement?: unknown
}

const hex = z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/, 'expected lower-case hex'))

/** What `measure --json` prints, as far as it counts here. */
const PREDICTION = z.object({
    tee: z.string().check(z.regex(/^[a-z0-9-]+$/)),
    measurements: z.record(z.string().check(z.regex(/^[A-Za-z0-9]+$/)), hex),
    coverage: z.enum(Object.keys(COVERAGES)),
    // It becomes a comment of the set: one line of it.
    coverageNote: z.string().check(z.regex(/^\P{Cc}*$/u, 'expected one line of text')),
    unpredicted: z.record(z.string(), z.string()),
})

type Prediction = z.infer<typeof PREDICTION>

const MAX_BYTES = 256 * 1024

/** @throws AttestError ERR_USAGE, ERR_JSON, and what the broker says of the set */
export async function addMeasured(asked: Asked, text: ReturnType<typeof admin>['text']): Promise<number> {
    const { fromMeasure, name, coverage, file, fromEvidence, fromEventlog, measurement } = asked
    if ([file, fromEvidence, fromEventlog, measurement].some((value) => value !== undefined))
        throw coreError('ERR_USAGE', '--from-measure stands alone: leave out the file and the other sources')
    if (name === undefined) throw coreError('ERR_USAGE', '--from-measure needs --name')
    if (coverage !== undefined) throw coreError('ERR_USAGE', '--coverage: what is covered stands in the prediction')
    const predictions = fromMeasure.map((path) => readPrediction(readInput(path, MAX_BYTES), path))
    return addPredicted(name, predictions, text)
}

/** Makes the set of them known, and prints it. @throws AttestError ERR_USAGE, and what the broker says of the set */
export async function addPredicted(
    name: string,
    predictions: readonly Prediction[],
    text: ReturnType<typeof admin>['text'],
    origin?: string,
): Promise<number> {
    checkName(name, 'reference set')
    const body = writeMeasured(name, predictions, origin)
    await text({ method: 'POST', path: '/v1/references', body })
    printBytes(body)
    note(`${name} is known`)
    hint('its policy says nothing but measurements: add what else you demand, and add the file that was printed again')
    return 0
}

/** @throws AttestError ERR_USAGE, ERR_JSON */
export function readPrediction(bytes: Buffer, title: string): Prediction {
    const value = parseJson(bytes, { title, maxBytes: MAX_BYTES })
    const isPrediction =
        typeof value === 'object' && value !== null && 'measurements' in value && 'unpredicted' in value
    if (!isPrediction) throw coreError('ERR_USAGE', `${title}: not the output of \`measure --json\``)
    const prediction = shape(PREDICTION, value, title)
    if ('measurement' in prediction.unpredicted || Object.keys(prediction.measurements).length === 0)
        throw coreError('ERR_USAGE', `${title}: a part of a measurement, which no evidence carries`)
    return prediction
}

/** One set of predictions that differ in their measurements alone, as TOML. @throws AttestError ERR_USAGE */
export function writeMeasured(
    name: string,
    predictions: readonly Prediction[],
    origin = 'What `guest-attest measure` predicted',
): string {
    const [first] = predictions
    if (!first) throw new TypeError('no prediction')
    for (const { tee, coverage, measurements } of predictions)
        if (tee !== first.tee || coverage !== first.coverage || others(measurements) !== others(first.measurements))
            throw coreError('ERR_USAGE', 'one set holds predictions of one technology and one coverage', {
                hint: 'make a set of each: any of them may match a guest',
            })
    const launch = predictions.map(({ measurements }) => Object.values(measurements)[0] ?? '')
    const more = Object.entries(first.measurements).slice(1)
    return `# ${origin}: ${first.coverageNote}
name = ${JSON.stringify(name)}
tee = ${JSON.stringify(technologyOf(first.tee))}
coverage = ${JSON.stringify(first.coverage)}

[policy]
measurements = [${[...new Set(launch)].map((value) => JSON.stringify(value)).join(', ')}]
${more.map(([member, value]) => `${member} = [${JSON.stringify(value)}]\n`).join('')}`
}

/** SEV-ES is measured by a name of its own, and proves itself as SEV. */
const technologyOf = (tee: string): string => PLUGINS.find(({ kbsNames }) => kbsNames.includes(tee))?.id ?? tee

const others = (measurements: Prediction['measurements']): string =>
    JSON.stringify(Object.entries(measurements).slice(1))
