// `inspect`: what a proof says, field by field. Nothing is verified.
// SPDX-License-Identifier: Apache-2.0

import { readInput } from '#core/files.ts'
import { MAX_EVIDENCE_BYTES, readMistaken, recognise } from '#evidence/recognise.ts'
import { STRICT_TRUST } from '#evidence/trust.ts'
import type { FieldLine, Verifier } from '#evidence/verifier.ts'
import { PLUGINS } from '#plugins.ts'
import { command as define, JSON_OPTION } from './command.ts'
import { columns, note, print, printJson } from './term.ts'

export const command = define({
    positionals: { file: 'the evidence: binary, hex, base64 or JSON; - is standard input' },
    options: JSON_OPTION,
    examples: [
        ['report.bin', 'every field with its meaning'],
        ['evidence.json --json', 'the same for a program'],
    ],
    details:
        'Nothing is verified: whoever wrote the file may have invented every field. `guest-attest verify` judges it.',
    async run({ file, json }) {
        const verifiers = await Promise.all(PLUGINS.map((plugin) => plugin.verifier(STRICT_TRUST)))
        const bytes = readInput(String(file), MAX_EVIDENCE_BYTES)
        const { tee, form, hint, fields } = readMistaken(bytes, verifiers) ?? readEvidence(bytes, verifiers)
        if (hint !== undefined) note(hint)
        if (json) printJson({ tee, form, verified: false, fields })
        else {
            print(form)
            for (const line of columns(fields.flatMap(lines), '  ')) print(line)
            note('nothing of this was verified')
        }
        return 0
    },
})

function readEvidence(bytes: Buffer, verifiers: readonly Verifier[]) {
    const { verifier, evidence, form } = recognise(bytes, verifiers)
    return { tee: verifier.tee, form, hint: undefined, fields: verifier.describe(evidence) }
}

/** Characters of a value on one line: 24 bytes in hex. */
const VALUE_WIDTH = 48

// A field as rows of three columns; what is longer than its column goes on below. An address stays whole, to be copied.
function lines({ name, value, means }: FieldLine): string[][] {
    if (value.includes('://'))
        return [
            [name, means],
            ['', value],
        ]
    const [first = '', ...rest] = /^[0-9a-f]+$/.test(value) ? chunks(value) : words(value)
    return [[name, first, means], ...rest.map((part) => ['', part])]
}

const chunks = (hex: string): string[] => hex.match(new RegExp(`.{1,${VALUE_WIDTH}}`, 'g')) ?? []

function words(text: string): string[] {
    const out: string[] = []
    for (const word of text.split(' ')) {
        const last = out.at(-1)
        if (last === undefined || last.length + word.length >= VALUE_WIDTH) out.push(word)
        else out[out.length - 1] = `${last} ${word}`
    }
    return out
}
