// A volume whose header passes: what it is, and what the host can do to it all the same.
// SPDX-License-Identifier: Apache-2.0

import type { DataCipher } from './algorithms.ts'
import type { BinaryHeader } from './header.ts'
import { CHEAP_SECONDS, type KdfCost } from './kdf.ts'
import { type FoundToken, type Slot, TOKEN_TYPES } from './keyslots.ts'
import type { Segment } from './metadata.ts'

export interface LuksVolume {
    readonly uuid: string
    readonly label: string
    readonly subsystem: string
    readonly seqid: bigint
    /** Bytes from the start of the device. */
    readonly dataOffset: bigint
    /** Bytes; null is all that there are. */
    readonly dataSize: bigint | null
    readonly sectorSize: number
    readonly cipher: string
    /** With the authentication key. */
    readonly volumeKeyBits: number
    /** `hmac(sha256)`, `aead` and their like; null where there is none. */
    readonly integrity: string | null
    /**
     * True where a change of the stored data is noticed. That it is the newest data, nothing can tell. It is the header
     * that says so: who counts on it compares it with what the guest itself was configured with.
     */
    readonly authenticated: boolean
    /** Null where the data is authenticated. */
    readonly scrambles: string | null
    readonly flags: readonly string[]
    readonly keyslots: readonly { readonly id: string; readonly kdf: string; readonly tokens: readonly string[] }[]
    readonly tokens: readonly FoundToken[]
    /** Key slots whose derivation is cheap, and of which no token says that their passphrase is random. */
    readonly guessable: readonly string[]
}

/** The persistent flags that are accepted. cryptsetup passes over one that it does not know. */
export const FLAGS: Readonly<Record<string, { readonly gives?: string }>> = {
    'allow-discards': { gives: 'see which blocks are unused (the flag allow-discards)' },
    'same-cpu-crypt': {},
    'submit-from-crypt-cpus': {},
    'no-read-workqueue': {},
    'no-write-workqueue': {},
    high_priority: {},
    'no-journal': { gives: 'make sectors unreadable by a crash while they are written (the flag no-journal)' },
}

/** What the checks found. */
export interface Findings {
    readonly header: BinaryHeader
    readonly segment: Segment
    readonly cipher: DataCipher
    readonly keySize: number
    readonly slots: readonly Slot[]
    readonly costs: ReadonlyMap<string, KdfCost>
    readonly tokens: readonly FoundToken[]
    readonly flags: readonly string[]
}

/** A volume whose checks have passed. */
export function describeVolume({
    header,
    segment,
    cipher,
    keySize,
    slots,
    costs,
    tokens,
    flags,
}: Findings): LuksVolume {
    const tokensOf = (id: string) => tokens.filter(({ keyslots }) => keyslots.includes(id))
    const isGuessable = ({ id }: Slot) =>
        (costs.get(id)?.seconds ?? 0) < CHEAP_SECONDS && !tokensOf(id).some(({ type }) => TOKEN_TYPES[type]?.random)
    return {
        uuid: header.uuid.toLowerCase(),
        label: header.label,
        subsystem: header.subsystem,
        seqid: header.seqid,
        dataOffset: segment.offset,
        dataSize: segment.size,
        sectorSize: segment.sector_size,
        cipher: segment.encryption,
        volumeKeyBits: 8 * keySize,
        integrity: segment.integrity?.type ?? null,
        authenticated: cipher.scrambles === null,
        scrambles: cipher.scrambles,
        flags,
        keyslots: slots.map(({ id }) => ({
            id,
            kdf: costs.get(id)?.text ?? '',
            tokens: tokensOf(id).map((token) => token.id),
        })),
        tokens,
        guessable: slots.filter(isGuessable).map(({ id }) => id),
    }
}

/** What no check of a header can rule out, each as the end of "the host can still …". */
export function remainsOf(volume: LuksVolume): string[] {
    return [
        ...(volume.scrambles === null
            ? []
            : [`change the data unnoticed: each change turns ${volume.scrambles} of its choice into noise`]),
        'put back an older state of each sector, or of the whole disk',
        'put back an older header: a key slot that was removed opens again',
        'give another volume that the same key opens, under this UUID',
        ...volume.flags.flatMap((flag) => FLAGS[flag]?.gives ?? []),
        ...volume.tokens.flatMap(({ id, type }) => {
            const gives = TOKEN_TYPES[type]?.gives
            return gives ? `${gives} ${id} (${type}), where the system opens volumes with such tokens` : []
        }),
        ...volume.guessable.map(
            (id) => `guess the passphrase of key slot ${id}, unless it is random: its derivation is cheap`,
        ),
    ]
}
