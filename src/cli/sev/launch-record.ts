// What a launch service knows of a guest (`broker launch show UUID --json`), beside a report of later: what contradicts it
// is refused. What agrees is worth no more for it: the host may have asked about any guest that was launched so.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { coreError } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { shape } from '#core/schema.ts'

/** A launch that was validated: what was measured, hex, and on which chip. */
export interface RecordedLaunch {
    readonly digest: string
    readonly policy: number
    readonly chip: string
}

const MEASURED = z.object({ digest: z.string(), policy: z.int() })
const LAUNCH = z.object({
    platform: z.object({ chip: z.string() }),
    end: z.nullable(z.object({ outcome: z.string(), measured: z.nullable(MEASURED) })),
})
const RECORD = z.object({ launches: z.array(LAUNCH) })

/** @throws AttestError ERR_USAGE, ERR_NOT_FOUND_FILE */
export function readLaunchRecord(path: string): readonly RecordedLaunch[] {
    const text = readInput(path)
    if (text.toString().trim() === '')
        throw coreError('ERR_USAGE', `--launch-record: nothing came from ${path === '-' ? 'standard input' : path}`, {
            hint: 'did `guest-attest broker launch show UUID --json` fail?',
        })
    try {
        const { launches } = shape(RECORD, parseJson(text, { title: path, maxBytes: text.length }), path)
        return launches.flatMap(({ platform: { chip }, end }) =>
            end?.outcome === 'validated' && end.measured ? [{ ...end.measured, chip }] : [],
        )
    } catch (cause) {
        throw coreError('ERR_USAGE', `--launch-record: ${path} is not what \`broker launch show UUID --json\` prints`, {
            cause,
        })
    }
}
