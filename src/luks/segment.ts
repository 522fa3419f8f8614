// The checks of the data: one encrypted segment behind the header, and its cipher.
// SPDX-License-Identifier: Apache-2.0

import { dataCipher } from './algorithms.ts'
import { brief, luksError } from './errors.ts'
import { fit, type Metadata, SEGMENT, type Segment } from './metadata.ts'

/** Why a type of segment is not accepted. */
const SEGMENT_TYPES: Readonly<Record<string, string>> = {
    linear: 'it is not encrypted',
    'hw-opal': "the drive encrypts it, and the drive is the host's",
    'hw-opal-crypt': "the drive takes part in its encryption, and the drive is the host's",
}

/**
 * One encrypted segment and no other, behind the key slots unless its header is detached.
 * @throws AttestError ERR_LUKS_SEGMENT, ERR_LUKS_UNKNOWN
 */
export function checkSegment(hdrSize: bigint, { segments, config }: Metadata, detached: boolean) {
    const refuse = (text: string) => luksError('ERR_LUKS_SEGMENT', text)
    const ids = Object.keys(segments)
    const value = segments['0']
    if (!value || ids.length > 1) throw refuse(`expected one segment, 0, got ${ids.join(', ') || 'none'}`)
    if (value.type !== 'crypt') {
        const why = Object.hasOwn(SEGMENT_TYPES, value.type) ? `: ${SEGMENT_TYPES[value.type]}` : ''
        throw refuse(`type: expected crypt, got ${brief(value.type)}${why}`)
    }
    const segment = fit(SEGMENT, value, 'segment 0', 'ERR_LUKS_SEGMENT')
    const [flag] = segment.flags ?? []
    if (flag !== undefined) throw luksError('ERR_LUKS_UNKNOWN', `flags: expected none, got ${brief(flag)}`)
    const least = detached ? 0n : 2n * hdrSize + config.keyslots_size
    if (segment.offset < least || segment.offset % 512n !== 0n)
        throw refuse(`offset: expected a multiple of 512 from ${least}, got ${segment.offset}`)
    if (segment.size !== null && segment.size % BigInt(segment.sector_size) !== 0n)
        throw refuse(`size: expected a multiple of ${segment.sector_size}, got ${segment.size}`)
    return {
        segment,
        detail: `crypt from ${segment.offset}, ${segment.size ?? 'all'} bytes in sectors of ${segment.sector_size}`,
    }
}

/** @throws AttestError ERR_LUKS_NULL_CIPHER, ERR_LUKS_CIPHER, ERR_LUKS_KEY_SIZE */
export function checkCipher({ encryption, integrity }: Segment) {
    const cipher = dataCipher(encryption, integrity?.type ?? null, 'the data')
    const keySize = integrity?.key_size
    // The host must not move the border between the two keys that the volume key consists of.
    if (keySize !== undefined && keySize !== cipher.macSize)
        throw luksError('ERR_LUKS_KEY_SIZE', `integrity.key_size: expected ${cipher.macSize}, got ${keySize}`)
    return { ...cipher, detail: integrity ? `${encryption} and ${integrity.type}` : `${encryption}, not authenticated` }
}
