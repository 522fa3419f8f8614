// `doctor`: what is there, what is missing, what to do.
// SPDX-License-Identifier: Apache-2.0

import { command as define, JSON_OPTION } from '../command.ts'
import { columns, hint, print, printJson, progress, progressDone } from '../term.ts'
import { examineBroker } from './broker.ts'
import { examineDisk } from './disk.ts'
import { examineMachine, type Finding } from './machine.ts'

export const command = define({
    options: {
        url: { type: 'string', describe: 'a broker: its name, its key, the clock, would it release' },
        path: {
            type: 'string',
            describe: 'with --url: the resource to ask for; the one path that is allowed, unless told',
        },
        disk: { type: 'string', describe: 'an encrypted device: its tokens, and what its header would let through' },
        ...JSON_OPTION,
    },
    examples: [
        ['', 'this machine: guest, kernel, configuration, programs'],
        ['--url https://kbs.example:8443', 'the way to a broker, up to a key (which counts as a release)'],
        ['--disk /dev/vda3', 'a volume: is its header sound, who can open it'],
    ],
    details: 'Exit status: 0 nothing is wrong, 1 something is.',
    async run(args) {
        const findings: Finding[] = []
        const note = (finding: Finding): void => {
            findings.push(finding)
            progress(finding.what)
        }
        await examineMachine(note)
        if (args.url !== undefined) await examineBroker(args.url, args.path, note)
        if (args.disk !== undefined) examineDisk(args.disk, note)
        progressDone()
        if (args.json) printJson({ findings })
        else show(findings)
        return findings.some(({ state }) => state === 'bad') ? 1 : 0
    },
})

const MARKS = { good: 'ok', bad: 'BAD', unknown: '?' } as const

function show(findings: readonly Finding[]): void {
    for (const line of columns(findings.map(({ state, what, detail }) => [MARKS[state], what, detail]))) print(line)
    for (const { what, todo } of findings) if (todo) hint(`${what}: ${todo}`)
}
