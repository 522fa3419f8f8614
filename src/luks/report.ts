// Who can open a volume: each token and key slot, what other programs show of it, and what would weaken it. It reads what
// the header says; whether that may be believed, `checkHeader` judges.
// SPDX-License-Identifier: Apache-2.0

import { AttestError, messageOf } from '#core/errors.ts'
import { readBinding, resourceText, TOKEN_TYPE } from './binding.ts'
import { type Pin, pinText, readClevisPin, TRUSTED_PINS } from './clevis-token.ts'
import { TOKEN_TYPES } from './keyslots.ts'
import { fit, type Metadata, TOKEN } from './metadata.ts'

export interface ReportedToken {
    readonly id: string
    readonly type: string
    readonly keyslots: readonly string[]
    /** What it opens with, as a person reads it. */
    readonly opensWith: string
    /** What `clevis luks list` shows of it, where it is not the whole. */
    readonly clevisShows?: string
}

export interface Report {
    readonly tokens: readonly ReportedToken[]
    /** Key slots that no token leads to: passphrases, and what an interrupted program left. */
    readonly bare: readonly string[]
    /** What somebody should know or do. */
    readonly warnings: readonly string[]
}

/** What the metadata of a header says of who can open it. */
export function report({ tokens, keyslots }: Metadata): Report {
    const found = Object.entries(tokens).map(([id, token]) => describe(id, token))
    const led = new Set(found.flatMap(({ token }) => token.keyslots))
    const bare = Object.keys(keyslots).filter((id) => !led.has(id))
    return {
        tokens: found.map(({ token }) => token),
        bare,
        warnings: [
            ...found.flatMap(({ warnings }) => warnings),
            ...rotationWarnings(tokens),
            ...(bare.length === 0
                ? ['no key slot is left for recovery: where the broker is lost, so is the volume']
                : []),
        ],
    }
}

interface Described {
    readonly token: ReportedToken
    readonly warnings: readonly string[]
}

function describe(id: string, value: Metadata['tokens'][string]): Described {
    try {
        const { type, keyslots } = fit(TOKEN, value, `token ${id}`, 'ERR_LUKS_TOKEN')
        if (type === TOKEN_TYPE)
            return { token: { id, type, keyslots, opensWith: resourceText(readBinding(id, value)) }, warnings: [] }
        if (type !== 'clevis') {
            const gives = TOKEN_TYPES[type]?.gives
            const warnings = Object.hasOwn(TOKEN_TYPES, type) ? [] : [`token ${id} is of the unknown type ${type}`]
            const opensWith = gives ? 'a device, which the host can replace by its own' : 'what its program knows'
            return { token: { id, type, keyslots, opensWith }, warnings }
        }
        const pin = readClevisPin(fit(TOKEN, value, `token ${id}`, 'ERR_LUKS_TOKEN'), `token ${id}`)
        const shows = clevisShows(pin)
        const token = { id, type, keyslots, opensWith: pinText(pin) }
        return {
            token: shows === null ? token : { ...token, clevisShows: shows },
            warnings: clevisWarnings(id, pin),
        }
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        const token = { id, type: value.type, keyslots: [], opensWith: 'nobody can tell' }
        return { token, warnings: [`token ${id} cannot be read: ${messageOf(error)}`] }
    }
}

/** clevis does not ship these: its list names them unknown, and its editors cannot write them. */
const isOurs = ({ name }: Pin): boolean => TRUSTED_PINS.includes(name)

const has = (pin: Pin): boolean => isOurs(pin) || pin.shares.some(has)

const needsOurs = (pin: Pin): boolean =>
    pin.name === 'sss' ? pin.shares.filter((share) => !needsOurs(share)).length < pin.threshold : isOurs(pin)

const oursIn = (pin: Pin): string[] => (isOurs(pin) ? [pin.name] : pin.shares.flatMap(oursIn))

const ofOurs = (pin: Pin): string => [...new Set(oursIn(pin))].join(', ')

function clevisShows(pin: Pin): string | null {
    if (!has(pin)) return null
    if (isOurs(pin)) return `unknown pin '${pin.name}'`
    const shown = pin.shares.filter((share) => !isOurs(share))
    const names = shown.map(pinText).join(', ') || 'nothing'
    return `sss with t=${pin.threshold} of ${names}: the share of ${ofOurs(pin)} is missing`
}

function clevisWarnings(id: string, pin: Pin): string[] {
    const out: string[] = []
    if (pin.name === 'sss' && has(pin)) {
        const shown = pin.shares.filter((share) => !isOurs(share))
        const left = shown.length
        const then =
            left === 0
                ? 'bind to nothing'
                : pin.threshold > left
                  ? `ask for ${pin.threshold} of ${left} shares, which never opens`
                  : `need no ${ofOurs(pin)} any more: ${pin.threshold} of ${shown.map(pinText).join(', ')} would open it`
        out.push(
            `token ${id}: \`clevis luks edit\` and \`clevis luks regen\` would ${then}; unbind and bind it again instead`,
        )
    }
    if (pin.name === 'sss' && !needsOurs(pin))
        out.push(`token ${id}: ${pin.threshold} of the shares that need no attested guest open it`)
    return out
}

/** Two versions of one resource: a rotation that is under way, or was interrupted. */
function rotationWarnings(tokens: Metadata['tokens']): string[] {
    const versions = new Map<string, (number | null)[]>()
    for (const [id, token] of Object.entries(tokens)) {
        if (token.type !== TOKEN_TYPE) continue
        try {
            const { path, version } = readBinding(id, token)
            versions.set(path, [...(versions.get(path) ?? []), version])
        } catch {
            // said already
        }
    }
    return [...versions]
        .filter(([, all]) => all.length > 1)
        .map(
            ([path, all]) =>
                `${path} is bound ${all.length} times (versions ${all.map((v) => v ?? 'none').join(', ')}): \`guest-attest luks rebind\` ends what was interrupted`,
        )
}

/** What the host gains by a profile or front end of the volume table. */
export const PROFILE_GIVES: Readonly<Record<string, readonly string[]>> = {
    strict: [],
    compat: [
        'read a passphrase that is typed at the console, which is its own',
        'offer its own disk, type its own passphrase, and have its system run under the genuine measurement',
    ],
    clevis: ['exchange the header after it was read: clevis opens from the disk, and checks no digest'],
}
