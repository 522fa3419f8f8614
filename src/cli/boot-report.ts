// `boot-report`: what happened in the initrd of this boot, from the first question to the open volume.
// SPDX-License-Identifier: Apache-2.0

import { join } from 'node:path'
import * as z from 'zod/mini'
import { AttestError, coreError, restated } from '#core/errors.ts'
import { readInput } from '#core/files.ts'
import { parseJson } from '#core/json.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { type Schema, shape } from '#core/schema.ts'
import { BOOT_REPORT, type BootEvent, SECRETS_SUBJECT, STATES, type State } from '#unlock/status.ts'
import { command as define, JSON_OPTION } from './command.ts'
import { columns, print, printJson, styled } from './term.ts'

const EVENT: Schema<BootEvent> = z.object({
    subject: z.string(),
    uptimeMs: z.number(),
    state: z.enum(Object.keys(STATES) as [State, ...State[]]),
    text: z.string(),
})

/** More than the initrd writes. */
const MAX_BYTES = 4 * 1024 * 1024

export const command = define({
    options: {
        file: {
            type: 'string',
            default: join(RUN_FOLDER, BOOT_REPORT),
            describe: 'the report, if it was saved elsewhere',
        },
        ...JSON_OPTION,
    },
    examples: [
        ['', 'when each volume was asked for, and opened'],
        ['--json', 'for a program'],
    ],
    details:
        'Exit status: 0 every volume that was asked for is open, 1 one is not or an injected secret could not be wiped, 2 there is no report: no volume of the table was asked for in this boot.',
    async run({ file, json }) {
        const events = readReport(file)
        const ofSecrets = events.filter(({ subject }) => subject === SECRETS_SUBJECT)
        const last = new Map(
            events.filter((event) => !ofSecrets.includes(event)).map((event) => [event.subject, event]),
        )
        const open = [...last.values()].every(({ state }) => state === 'open')
        const wiped = ofSecrets.every(({ state }) => state !== 'failed')
        if (json) printJson({ file, open, ...(ofSecrets.length > 0 ? { wiped } : {}), events })
        else {
            const rows = events.map((event) => [`${(event.uptimeMs / 1000).toFixed(3)} s`, event.subject, event.text])
            for (const line of columns(rows)) print(line)
            print(
                open
                    ? styled('green', 'every volume that was asked for is open')
                    : styled('red', 'not every volume that was asked for is open'),
            )
            if (!wiped) print(styled('red', 'not every injected secret could be wiped'))
        }
        return open && wiped ? 0 : 1
    },
})

function readReport(file: string): BootEvent[] {
    const lines = readLines(file)
    if (lines.length === 0) throw coreError('ERR_NOT_FOUND_FILE', `${file} is empty`, { hint: NO_REPORT })
    return lines.map((line, i) => {
        const title = `${file}:${i + 1}`
        return shape(EVENT, parseJson(Buffer.from(line), { title }), title)
    })
}

const NO_REPORT = 'no volume of the table (volumes.d) was asked for in this boot; `guest-attest luks enroll` adds one'

function readLines(file: string): string[] {
    try {
        return readInput(file, MAX_BYTES).toString('utf8').split('\n').filter(Boolean)
    } catch (error) {
        if (error instanceof AttestError && error.code === 'ERR_NOT_FOUND_FILE')
            throw restated(error, error.message, NO_REPORT)
        throw error
    }
}
