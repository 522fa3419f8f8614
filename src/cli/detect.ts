// `detect`: what this guest is, and through which interface of its kernel.
// SPDX-License-Identifier: Apache-2.0

import type { Guest, MeasurementRegister } from '#drivers/driver.ts'
import { pluginOf } from '#plugins.ts'
import { command as define, JSON_OPTION } from './command.ts'
import { findGuest, GUEST_OPTIONS, otherGuest } from './guest.ts'
import { registerJson } from './registers/registers.ts'
import { columns, print, printJson } from './term.ts'

export const command = define({
    options: { ...GUEST_OPTIONS, ...JSON_OPTION },
    examples: [
        ['', 'the technology, its interface, what it can do'],
        ['--json', 'the same for a program'],
    ],
    details: 'Exit status: 0 a guest that can be used, 1 no guest (or one that cannot be used, with the reason).',
    async run(args) {
        const guest = await findGuest(args)
        if (!guest) {
            const other = await otherGuest(args)
            if (args.json) printJson({ tee: null })
            else
                print(
                    other
                        ? `no guest of ${pluginOf(args.tee ?? '').title}: it is one of ${other}`
                        : 'no confidential guest',
                )
            return 1
        }
        try {
            const registers = guest.registers ? await guest.registers.read() : undefined
            if (args.json) printJson({ tee: guest.tee, ...guest.probe, can: abilities(guest), ...members(registers) })
            else show(guest, registers)
            return 0
        } finally {
            guest.close()
        }
    },
})

/** What a guest offers: a method that is there is an ability. */
const abilities = (guest: Guest): string[] => [
    ...(guest.evidence ? ['evidence'] : []),
    ...(guest.deriveKey ? ['derive-key'] : []),
    ...(guest.registers ? ['registers'] : []),
    ...(guest.secrets ? ['secrets'] : []),
    ...(guest.hasEventLog ? ['event-log'] : []),
]

type Registers = readonly MeasurementRegister[] | undefined

const members = (registers: Registers) => (registers ? { registers: registers.map(registerJson) } : {})

function show(guest: Guest, registers: Registers): void {
    const { via, path, tried } = guest.probe
    const rows = [
        ['technology', guest.tee],
        ['interface', `${via} (${path})`],
        ['can', abilities(guest).join(', ')],
        ...(registers ? [['registers', registers.map(({ name }) => name).join(', ')]] : []),
        ...tried.map((attempt) => [`${attempt.via}`, `${attempt.path}: ${attempt.found}`]),
    ]
    for (const line of columns(rows)) print(line)
}
