// The checks of key slots and what binds them: areas, digest, tokens.
// SPDX-License-Identifier: Apache-2.0

import { areaCipher, type CipherRow, checkHash, checkKeySize, type DataCipher, hashSize } from './algorithms.ts'
import { readBinding, resourceText, TOKEN_TYPE } from './binding.ts'
import { checkPin, pinText, readClevisPin } from './clevis-token.ts'
import { brief, luksError } from './errors.ts'
import { checkTotal, type KdfCost, pbkdf2Cost, readKdf } from './kdf.ts'
import { DIGEST, fit, KEYSLOT, type Keyslot, type Metadata, TOKEN } from './metadata.ts'

export interface Slot {
    readonly id: string
    readonly slot: Keyslot
}

export interface FoundToken {
    readonly id: string
    readonly type: string
    readonly keyslots: readonly string[]
    /** What a clevis token opens with. */
    readonly pin?: string
    /** The resource that a token of ours names. */
    readonly resource?: string
}

const DEVICE_OF_THE_HOST = 'give a device of its own that opens token'

/**
 * The token types that are accepted, whether the passphrases that they lead to are random, and what the host gains by
 * one that it wrote. cryptsetup opens a token of another type with the plug-in of that name: an unknown one lets the
 * host choose what code runs.
 */
export const TOKEN_TYPES: Readonly<Record<string, { readonly random: boolean; readonly gives?: string }>> = {
    [TOKEN_TYPE]: { random: true },
    clevis: { random: true },
    'systemd-fido2': { random: true, gives: DEVICE_OF_THE_HOST },
    'systemd-pkcs11': { random: true, gives: DEVICE_OF_THE_HOST },
    'systemd-recovery': { random: true },
    'systemd-tpm2': { random: true, gives: DEVICE_OF_THE_HOST },
    'luks2-keyring': { random: false },
}

/** Areas begin where a page does. */
const AREA_ALIGNMENT = 4096n

const SECTOR = 512

/** Each in the one shape that is accepted. @throws AttestError ERR_LUKS_KEYSLOT, ERR_LUKS_UNKNOWN, ERR_LUKS_HASH */
export function readKeyslots({ keyslots }: Metadata) {
    const slots = Object.entries(keyslots).map(([id, value]): Slot => {
        if (value.type !== 'luks2')
            throw luksError('ERR_LUKS_UNKNOWN', `${slotName(id)}: type: expected luks2, got ${brief(value.type)}`)
        const slot = fit(KEYSLOT, value, slotName(id), 'ERR_LUKS_KEYSLOT')
        checkHash(slot.af.hash, `${slotName(id)}: af.hash`)
        return { id, slot }
    })
    if (slots.length === 0) throw luksError('ERR_LUKS_KEYSLOT', 'there is no key slot')
    return { slots, detail: slots.map(({ id }) => id).join(', ') }
}

/** What encrypts the volume key. @throws AttestError ERR_LUKS_NULL_CIPHER, ERR_LUKS_CIPHER, ERR_LUKS_KEY_SIZE */
export function checkSlotCiphers(slots: readonly Slot[]) {
    const found = slots.map(({ id, slot: { area } }) => {
        const row: CipherRow = areaCipher(area.encryption, slotName(id))
        checkKeySize(area.key_size, row, `${slotName(id)}: area.key_size`)
        return `${area.encryption} with ${8 * area.key_size} bits`
    })
    return { detail: [...new Set(found)].join(', ') }
}

/** The volume key that each slot holds fits the data cipher. @throws AttestError ERR_LUKS_KEY_SIZE */
export function checkKeySizes(slots: readonly Slot[], cipher: DataCipher) {
    let size = 0
    for (const { id, slot } of slots) {
        checkKeySize(slot.key_size, cipher, `${slotName(id)}: key_size`)
        if (size !== 0 && slot.key_size !== size)
            throw luksError(
                'ERR_LUKS_KEY_SIZE',
                `${slotName(id)}: key_size: expected ${size} as in the slot before, got ${slot.key_size}`,
            )
        size = slot.key_size
    }
    return { size, detail: `${8 * size} bits` }
}

/** Inside the key-slot area, apart, and large enough for the split key. @throws AttestError ERR_LUKS_AREA */
export function checkAreas(slots: readonly Slot[], hdrSize: bigint, { config }: Metadata) {
    const start = 2n * hdrSize
    const end = start + config.keyslots_size
    let free = start
    for (const { id, slot } of slots.toSorted((a, b) => Number(a.slot.area.offset - b.slot.area.offset))) {
        const { offset, size } = slot.area
        const refuse = (text: string) => luksError('ERR_LUKS_AREA', `${slotName(id)}: ${text}`)
        if (offset < start || offset + size > end)
            throw refuse(`expected an area within [${start}, ${end}), got [${offset}, ${offset + size})`)
        if (offset % AREA_ALIGNMENT !== 0n) throw refuse(`offset ${offset} is not a multiple of ${AREA_ALIGNMENT}`)
        if (offset < free) throw refuse(`its area begins at ${offset}, inside one that ends at ${free}`)
        const need = Math.ceil((slot.key_size * slot.af.stripes) / SECTOR) * SECTOR
        if (size < need) throw refuse(`expected an area of at least ${need} bytes, got ${size}`)
        free = offset + size
    }
    return { detail: `${slots.length} within [${start}, ${end})` }
}

/** @throws AttestError ERR_LUKS_KDF, ERR_LUKS_UNKNOWN, ERR_LUKS_HASH */
export function checkKdfs(slots: readonly Slot[]) {
    const costs = new Map(slots.map(({ id, slot }): [string, KdfCost] => [id, readKdf(slot.kdf, slotName(id))]))
    checkTotal([...costs.values()])
    return { costs, detail: [...new Set([...costs.values()].map(({ text }) => text))].join(', ') }
}

/**
 * One digest binds every key slot to the data: whatever slot opens, it opens this volume key.
 * @throws AttestError ERR_LUKS_DIGEST, ERR_LUKS_UNKNOWN, ERR_LUKS_HASH, ERR_LUKS_KDF
 */
export function checkDigest({ digests, keyslots }: Metadata) {
    const [value, ...more] = Object.values(digests)
    if (!value || more.length > 0)
        throw luksError('ERR_LUKS_DIGEST', `expected one digest, got ${Object.keys(digests).length}`, {
            hint: 'a key slot that was added with `--unbound` has one of its own; `cryptsetup luksKillSlot` removes it',
        })
    if (value.type !== 'pbkdf2')
        throw luksError('ERR_LUKS_UNKNOWN', `digest: type: expected pbkdf2, got ${brief(value.type)}`)
    const digest = fit(DIGEST, value, 'digest', 'ERR_LUKS_DIGEST')
    checkHash(digest.hash, 'digest: hash')
    const cost = pbkdf2Cost(digest, 'digest')
    wantIds(digest.segments, ['0'], 'segments')
    wantIds(digest.keyslots, Object.keys(keyslots), 'key slots')
    checkDigestLength(digest)
    return { detail: `${cost.text}, key slots ${digest.keyslots.join(', ')}` }
}

/** @throws AttestError ERR_LUKS_TOKEN, ERR_LUKS_PIN, ERR_LUKS_UNKNOWN */
export function checkTokens({ tokens, keyslots }: Metadata, insecurePins: readonly string[]) {
    const found = Object.entries(tokens).map(([id, value]): FoundToken => {
        if (!Object.hasOwn(TOKEN_TYPES, value.type))
            throw luksError(
                'ERR_LUKS_UNKNOWN',
                `token ${id}: type: expected ${Object.keys(TOKEN_TYPES).join(', ')}, got ${brief(value.type)}`,
            )
        const token = fit(TOKEN, value, `token ${id}`, 'ERR_LUKS_TOKEN')
        for (const slot of token.keyslots)
            if (!Object.hasOwn(keyslots, slot))
                throw luksError('ERR_LUKS_TOKEN', `token ${id}: there is no key slot ${brief(slot)}`)
        const { type, keyslots: of } = token
        if (type === TOKEN_TYPE) return { id, type, keyslots: of, resource: resourceText(readBinding(id, value)) }
        if (type !== 'clevis') return { id, type, keyslots: of }
        const pin = readClevisPin(token, `token ${id}`)
        checkPin(pin, insecurePins, `token ${id}`)
        return { id, type, keyslots: of, pin: pinText(pin) }
    })
    return { tokens: found, detail: found.map(tokenText).join(', ') || 'none' }
}

/** As a person reads it: `clevis kbs`. */
export const tokenText = ({ id, type, pin, resource }: FoundToken): string =>
    [id, type, ...(pin ? [pin] : []), ...(resource ? [`(${resource})`] : [])].join(' ')

// LUKS1 cut digests to 20 bytes, and a converted header keeps them so; cryptsetup takes that or the whole hash.
function checkDigestLength({ hash, digest }: { readonly hash: string; readonly digest: string }): void {
    const length = Buffer.from(digest, 'base64').length
    if (length !== 20 && length !== hashSize(hash))
        throw luksError('ERR_LUKS_DIGEST', `digest: expected 20 or ${hashSize(hash)} bytes, got ${length}`)
}

function wantIds(got: readonly string[], want: readonly string[], what: string): void {
    const [sortedGot, sortedWant] = [got.toSorted(), want.toSorted()]
    if (sortedGot.length !== sortedWant.length || sortedGot.some((id, i) => id !== sortedWant[i]))
        throw luksError(
            'ERR_LUKS_DIGEST',
            `digest: expected the ${what} ${sortedWant.join(', ')}, got ${sortedGot.map(brief).join(', ') || 'none'}`,
        )
}

const slotName = (id: string): string => `key slot ${id}`
