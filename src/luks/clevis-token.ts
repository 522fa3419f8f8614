// What a clevis token of a header opens with (clevis 19 to 22). clevis runs `clevis-decrypt-PIN` for whatever pin the
// header names. The host cannot seal anything for a broker that it gets no keys from, nor with what an owner injected into
// the guest's memory; with `null`, with `tang` and a server of its own, or with a TPM that it emulates, it can, and then the
// guest opens a volume that the host has made.
// SPDX-License-Identifier: Apache-2.0

import { fromBase64Url } from '#core/bytes.ts'
import { errnoOf, messageOf } from '#core/errors.ts'
import { parseJson } from '#core/json.ts'
import { brief, luksError } from './errors.ts'
import { CLEVIS_HEADER, fit, SSS, type Token } from './metadata.ts'

/** A pin, or with `sss` how many of which pins. */
export interface Pin {
    readonly name: string
    readonly threshold: number
    readonly shares: readonly Pin[]
}

/** The pins for which the host can seal nothing: ours, which clevis does not ship. */
export const TRUSTED_PINS: readonly string[] = ['kbs', 'sev']

const MAX_DEPTH = 4

/** @throws AttestError ERR_LUKS_TOKEN: nothing is said of a token that cannot be read */
export function readClevisPin(token: Token, where: string): Pin {
    return readPin(token.jwe?.protected ?? '', where, 1)
}

function readPin(protectedHeader: string, where: string, depth: number): Pin {
    if (depth > MAX_DEPTH) throw luksError('ERR_LUKS_TOKEN', `${where}: pins within pins, deeper than ${MAX_DEPTH}`)
    const { clevis } = fit(CLEVIS_HEADER, decode(protectedHeader, where), `${where}: jwe`, 'ERR_LUKS_TOKEN')
    if (clevis.pin !== 'sss') return { name: clevis.pin, threshold: 1, shares: [] }
    const { t: threshold, jwe } = fit(SSS, clevis['sss'], `${where}: sss`, 'ERR_LUKS_TOKEN')
    const shares = jwe.map((compact) => readPin(compact.split('.', 1)[0] as string, where, depth + 1))
    return { name: 'sss', threshold, shares }
}

function decode(protectedHeader: string, where: string): unknown {
    try {
        const bytes = fromBase64Url(protectedHeader, 'its header')
        return parseJson(bytes, { title: 'its header', maxBytes: bytes.length })
    } catch (cause) {
        if (errnoOf(cause) !== 'ERR_ENCODING' && errnoOf(cause) !== 'ERR_JSON') throw cause
        throw luksError('ERR_LUKS_TOKEN', `${where}: jwe: ${messageOf(cause)}`, { cause })
    }
}

/** @throws AttestError ERR_LUKS_PIN where who writes the header could have sealed what the pin opens */
export function checkPin(pin: Pin, insecurePins: readonly string[], where: string): void {
    const accepted = [...TRUSTED_PINS, ...insecurePins]
    if (!opensFor(pin, (name) => !accepted.includes(name))) return
    throw luksError('ERR_LUKS_PIN', `${where}: expected the clevis pin ${accepted.join(', ')}, got ${pinText(pin)}`, {
        hint: 'whoever wrote this header can open it: is it yours? `luks check --insecure-pin NAME` accepts another pin',
    })
}

const opensFor = (pin: Pin, can: (name: string) => boolean): boolean =>
    pin.name === 'sss' ? pin.shares.filter((share) => opensFor(share, can)).length >= pin.threshold : can(pin.name)

/** As a person reads it: `kbs`, `sss (1 of kbs, tang)`. */
export const pinText = ({ name, threshold, shares }: Pin): string =>
    name === 'sss' ? `sss (${threshold} of ${shares.map(pinText).join(', ')})` : brief(name).slice(1, -1)
