// Errors of LUKS2 headers: the ways in which one can lie, then what can go wrong where one is bound or opened.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const LUKS_ERRORS = {
    ERR_LUKS_DEVICE: { exit: 2, means: 'what was named is neither a block device nor a file' },
    ERR_LUKS_FORMAT: { exit: 1, means: 'there is no LUKS2 header, or it ends too early' },
    ERR_LUKS_VERSION: { exit: 1, means: 'the header is LUKS1 or of another version than 2, which cannot be judged' },
    ERR_LUKS_HEADER: { exit: 1, means: 'a field of the binary header has no legal value' },
    ERR_LUKS_CHECKSUM: { exit: 1, means: 'the checksum of a header copy does not hold' },
    ERR_LUKS_COPIES: { exit: 1, means: 'the two header copies differ, or one of them is missing' },
    ERR_LUKS_METADATA: { exit: 1, means: 'the JSON metadata is malformed, or has an unknown member' },
    ERR_LUKS_UNKNOWN: { exit: 1, means: 'a type, flag or requirement in the metadata is not known' },
    ERR_LUKS_REENCRYPTION: { exit: 1, means: 'a re-encryption is under way, or the header says so' },
    ERR_LUKS_REQUIREMENT: { exit: 1, means: 'the header demands a feature that is not accepted' },
    ERR_LUKS_UUID: { exit: 1, means: 'the volume is not the one that was expected' },
    ERR_LUKS_SEGMENT: { exit: 1, means: 'the data is not one encrypted segment behind the header' },
    ERR_LUKS_NULL_CIPHER: { exit: 1, means: 'a cipher is the null cipher: nothing would be encrypted' },
    ERR_LUKS_CIPHER: { exit: 1, means: 'a cipher is not on the list of accepted ones' },
    ERR_LUKS_KEY_SIZE: { exit: 1, means: 'a key is shorter than 256 bits, or does not fit its cipher' },
    ERR_LUKS_HASH: { exit: 1, means: 'a hash is not on the list of accepted ones' },
    ERR_LUKS_KEYSLOT: { exit: 1, means: 'a key slot is missing or malformed' },
    ERR_LUKS_AREA: { exit: 1, means: 'a key-slot area lies outside its place, overlaps another or is too small' },
    ERR_LUKS_KDF: { exit: 1, means: 'a key derivation is malformed, or its cost is outside the bounds' },
    ERR_LUKS_DIGEST: {
        exit: 1,
        means: 'the volume key is not bound to the data and to each key slot by exactly one digest',
    },
    ERR_LUKS_TOKEN: { exit: 1, means: 'a token is malformed, or names a key slot that does not exist' },
    ERR_LUKS_CRYPTSETUP: { exit: 3, means: 'cryptsetup is missing, or failed' },
    ERR_LUKS_PASSPHRASE: { exit: 1, means: 'no key slot opens with that passphrase or key' },
    ERR_LUKS_CHANGED: { exit: 3, passes: true, means: 'the header changed while it was worked on' },
    ERR_LUKS_FULL: { exit: 1, means: 'the header has no room for what was to be added' },
    ERR_LUKS_UNSOUND: { exit: 1, means: 'a check of the header fails: the volume may not be opened from it' },
    ERR_LUKS_BINDING: { exit: 1, means: 'no binding of the header is one that may open it' },
    ERR_LUKS_HEADER_DIGEST: { exit: 1, means: 'the header is not the one that was bound: it was altered since' },
    ERR_LUKS_PIN: { exit: 1, means: 'a clevis token opens with a key that the host can have' },
} as const satisfies ErrorTable

export type LuksCode = keyof typeof LUKS_ERRORS

export const luksError = errorsOf(LUKS_ERRORS)

/** Foreign text in a message: quoted, and no longer than a person reads. */
export const brief = (text: string): string => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
