// `measure X --match`: which inputs lead to a measurement that somebody saw, in hex or in evidence.
// SPDX-License-Identifier: Apache-2.0

import { existsSync } from 'node:fs'
import { fromHex, toHex } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import type { Fit, MeasureRows, MeasureValues, Search } from '#evidence/measure.ts'
import { MAX_EVIDENCE_BYTES, recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { spelled } from '../options/spelled.ts'
import { columns, note, print, printJson } from '../term.ts'

interface Match {
    readonly tee: string
    readonly search: Search
    readonly verifier: Plugin['verifier'] | undefined
    readonly values: MeasureValues<MeasureRows>
    /** Hex, or the path of evidence. */
    readonly wanted: string
    readonly json: boolean
}

/** Prints the nearest inputs that fit, and in JSON all of them; 1 where none do. */
export async function matchCommand({ tee, search, verifier, values, wanted, json }: Match): Promise<number> {
    const measurement = await readMatch(wanted, search, verifier)
    const fits = search.search(values, measurement)
    const [nearest, ...others] = fits
    if (json) printJson({ tee, measurement: toHex(measurement), searched: search.searched, fits })
    else if (nearest) showFit(nearest, others)
    else note(`nothing leads to ${toHex(measurement)}`)
    if (!nearest) note(`searched: ${search.searched}`)
    return nearest ? 0 : 1
}

function showFit({ inputs, differs }: Fit, others: readonly Fit[]): void {
    if (Object.keys(inputs).length === 0) print('the inputs as they were given')
    const rows = Object.entries(inputs).map(([name, value]) => [
        spelled(name),
        String(value),
        differs.includes(name) ? 'not as given' : '',
    ])
    for (const line of columns(rows)) print(line)
    note(
        differs.length > 0
            ? `the nearest: ${differs.map(spelled).join(', ')} not as given`
            : 'what was given fits; what was not is as it stands above, and has to be named: without its option it has the default',
    )
    if (others.length > 0) note(`${others.length} more lead to the same: --json lists them`)
}

/** @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE, ERR_EVIDENCE_UNKNOWN, and what the technology says of its own */
async function readMatch(text: string, { size, reported }: Search, verifier: Match['verifier']): Promise<Buffer> {
    if (/^[0-9a-f]{64,}$/i.test(text)) {
        if (text.length === 2 * size) return fromHex(text, '--match')
        throw coreError('ERR_USAGE', `--match: a measurement has ${2 * size} hex digits, got ${text.length}`)
    }
    if (text !== '-' && !existsSync(text))
        throw coreError('ERR_USAGE', `--match: expected ${2 * size} hex digits, or a file; there is no file ${text}`)
    const bytes = readInput(text, MAX_EVIDENCE_BYTES)
    const found = reported(bytes)
    if (found) return found
    const verifiers = verifier ? [await verifier(STRICT_TRUST)] : []
    const measurement = reported(recognise(bytes, verifiers).evidence.report)
    if (measurement) return measurement
    throw coreError('ERR_USAGE', `--match: ${text} carries no such measurement`)
}
