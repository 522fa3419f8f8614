// What an event log claims once it has replayed to the registers of a quote. The digests are then those that were
// measured. What a digest does not cover stays the word of whoever sent the log: the type of an event, and the labels
// that GRUB writes before its text; so a rule that must hold against the guest's own boot loader names registers
// instead.
// SPDX-License-Identifier: Apache-2.0

import { hash } from 'node:crypto'
import { toHex } from '#core/bytes.ts'
import type { ClaimTable } from '#evidence/claims.ts'
import type { Claims } from '#evidence/verdict.ts'
import { tdxError } from '../errors.ts'
import { type EventLog, type LoggedEvent, RTMRS, type RtmrName } from './ccel.ts'
import { EV_IPL, EV_NO_ACTION, isSizeAlone, kernelCommandLine, textOf, typeName, variableBytes } from './event-types.ts'

export const LOG_CLAIMS: ClaimTable = {
    form: { type: 'string', from: 'verifier', means: 'CCEL of the firmware, or the JSON of dstack' },
    events: { type: 'long', from: 'guest', means: 'how many events extended a register' },
    measured: {
        type: 'strings',
        from: 'guest',
        means: 'each event whose text was measured, and is not too long: register, type, text; types and the labels of GRUB are not measured',
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
        from: 'guest',
        means: 'the firmware says that it booted signed programs alone: worth something where MRTD and RTMR0 are named',
    },
    kernelCommandLine: {
        type: 'string',
        optional: true,
        from: 'guest',
        means: 'what GRUB calls the command line of the kernel: it was measured, its label was not; absent where it is too long',
    },
}

/** Of all claims of one log, in characters: a session keeps them. Real ones have 17 thousand. */
export const MAX_CLAIMED = 128 << 10

/** The claims of a log that `checkEventLog` has passed. @throws AttestError ERR_TDX_EVENT_LOG where they are too many */
export function logClaims({ form, events }: EventLog): Claims {
    const extending = events.filter(({ type, register }) => type !== EV_NO_ACTION && register !== 'mrtd')
    const proven = extending.filter((event) => event.proven)
    const secureBoot = secureBootOf(extending)
    const commandLine = onlyOne(proven.flatMap(commandLineOf))
    const claims: Claims = {
        form,
        events: extending.length,
        measured: [...new Set(proven.filter((event) => !isSizeAlone(textOf(event))).map((event) => lineOf(event)))],
        digests: Object.fromEntries(RTMRS.map((name) => [name, [...new Set(digestsOf(extending, name))]])),
        ...(secureBoot === undefined ? {} : { secureBoot }),
        ...(commandLine === undefined || commandLine === null ? {} : { kernelCommandLine: commandLine }),
    }
    const size = JSON.stringify(claims).length
    if (size <= MAX_CLAIMED) return claims
    throw tdxError('ERR_TDX_EVENT_LOG', `the event log claims ${size} characters, at most ${MAX_CLAIMED} are kept`)
}

const digestsOf = (events: readonly LoggedEvent[], name: RtmrName): string[] =>
    events.filter(({ register }) => register === name).map(({ digest }) => toHex(digest))

/** `rtmr2 EV_IPL grub_cmd: set default=0`. */
export const lineOf = (event: LoggedEvent): string => `${event.register} ${typeName(event.type)} ${textOf(event)}`

const EFI_GLOBAL_VARIABLE = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

const secureBootDigest = (...value: number[]): string =>
    hash('sha384', variableBytes(EFI_GLOBAL_VARIABLE, 'SecureBoot', Buffer.from(value)))

const SECURE_BOOT_ON = secureBootDigest(1)
const SECURE_BOOT_OFF: readonly string[] = [secureBootDigest(0), secureBootDigest()]

const SEPARATOR = hash('sha384', Buffer.alloc(4))

// The variable is measured with its names, so this one is told by its digest alone, whatever the log calls the event.
// Firmware measures it before the first separator; whoever runs later can extend the register with the same digest.
function secureBootOf(events: readonly LoggedEvent[]): boolean | undefined {
    const digests = digestsOf(events, 'rtmr0')
    const early = digests.slice(0, Math.max(0, digests.indexOf(SEPARATOR)))
    const on = early.includes(SECURE_BOOT_ON)
    if (on && !digests.some((digest) => SECURE_BOOT_OFF.includes(digest))) return true
    return !on && early.some((digest) => SECURE_BOOT_OFF.includes(digest)) ? false : undefined
}

function commandLineOf({ register, type, data }: LoggedEvent): (string | null)[] {
    const text = type === EV_IPL && register === 'rtmr2' ? kernelCommandLine(data) : undefined
    return text === undefined ? [] : [text]
}

// Two that differ leave open which of them counts.
const onlyOne = <T>(values: readonly T[]): T | undefined => (new Set(values).size === 1 ? values[0] : undefined)
