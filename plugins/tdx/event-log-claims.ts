// What an event log claims once it has replayed to the registers of a quote. The digests are then those that were
// measured. What a digest does not cover stays the word of whoever sent the log: the type of an event, and the labels that
// GRUB writes before its text; so a rule that must hold against the guest's own boot loader names registers instead.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { ClaimTable } from '#evidence/claims.ts'
import type { Claims } from '#evidence/verdict.ts'
import { type EventLog, type LoggedEvent, RTMRS } from './ccel.ts'
import {
    EV_EFI_VARIABLE_DRIVER_CONFIG,
    EV_IPL,
    EV_NO_ACTION,
    kernelCommandLine,
    textOf,
    typeName,
    variableOf,
} from './event-types.ts'

export const LOG_CLAIMS: ClaimTable = {
    form: { type: 'string', from: 'verifier', means: 'CCEL of the firmware, or the JSON of dstack' },
    events: { type: 'long', from: 'guest', means: 'how many events extended a register' },
    measured: {
        type: 'strings',
        from: 'guest',
        means: 'each event whose text was measured: register, type, text; types and the labels of GRUB are not measured',
    },
    digests: {
        type: Object.fromEntries(
            RTMRS.map((name) => [name, { type: 'strings', from: 'guest', means: `the digests that extended ${name}` }]),
        ),
        from: 'guest',
        means: 'what extended each register',
    },
    secureBoot: {
        type: 'bool',
        optional: true,
        from: 'host',
        means: 'the firmware was told to boot signed programs alone',
    },
    kernelCommandLine: {
        type: 'string',
        optional: true,
        from: 'guest',
        means: 'what GRUB calls the command line of the kernel: it was measured, its label was not',
    },
}

/** The claims of a log that `checkEventLog` has passed. */
export function logClaims({ form, events }: EventLog): Claims {
    const extending = events.filter(({ type, register }) => type !== EV_NO_ACTION && register !== 'mrtd')
    const proven = extending.filter((event) => event.proven)
    const secureBoot = onlyOne(proven.flatMap(secureBootOf))
    const commandLine = onlyOne(proven.flatMap(commandLineOf))
    return {
        form,
        events: extending.length,
        measured: [...new Set(proven.map((event) => lineOf(event)))],
        digests: Object.fromEntries(
            RTMRS.map((name) => [
                name,
                [...new Set(extending.filter(({ register }) => register === name).map(({ digest }) => toHex(digest)))],
            ]),
        ),
        ...(secureBoot === undefined ? {} : { secureBoot }),
        ...(commandLine === undefined ? {} : { kernelCommandLine: commandLine }),
    }
}

/** `rtmr2 EV_IPL grub_cmd: set default=0`. */
export const lineOf = (event: LoggedEvent): string => `${event.register} ${typeName(event.type)} ${textOf(event)}`

const EFI_GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

// The variable is measured with its names, so this one is told by its digest alone.
function secureBootOf({ register, type, data }: LoggedEvent): boolean[] {
    const variable = type === EV_EFI_VARIABLE_DRIVER_CONFIG && register === 'rtmr0' ? variableOf(data) : null
    if (variable?.name !== 'SecureBoot' || variable.guid !== EFI_GLOBAL_VARIABLE) return []
    return [variable.value.equals(Buffer.of(1))]
}

function commandLineOf({ register, type, data }: LoggedEvent): string[] {
    const text = type === EV_IPL && register === 'rtmr2' ? kernelCommandLine(data) : null
    return text === null ? [] : [text]
}

// Two that differ leave open which of them counts.
const onlyOne = <T>(values: readonly T[]): T | undefined => (new Set(values).size === 1 ? values[0] : undefined)
