// Forgeries of sections, configuration and data segment, under checksums that hold: what a host would write.
// SPDX-License-Identifier: Apache-2.0

import { type Case, goodMetadata, type MetadataCase, metadataCase } from './forge.ts'

const GOOD = goodMetadata()

const CRYPT = {
    type: 'crypt',
    offset: '2097152',
    size: 'dynamic',
    iv_tweak: '0',
    encryption: 'aes-xts-plain64',
    sector_size: 512,
}

const integrity = (type: string) => ({ type, journal_encryption: 'none', journal_integrity: 'none' })

/** Null, in each spelling that cryptsetup has or had for it. */
export const NULL_CIPHERS = ['cipher_null-ecb', 'cipher_null', 'null', 'NULL-ecb', 'capi:ecb(cipher_null)-plain64']

/** Ciphers that encrypt, and are not accepted. */
export const WEAK_CIPHERS = [
    'aes-ecb',
    'aes-cbc-essiv:sha256',
    'aes-ctr-plain64',
    'aes-xts-plain',
    'capi:xts(aes)-plain64',
    'rot13',
]

const ciphers = (names: string[], code: string, says: RegExp) =>
    names.map(
        (name): MetadataCase => ({
            name: `data cipher ${name}`,
            set: { 'segments.0.encryption': name },
            fails: 'cipher',
            code,
            says,
            dump: new RegExp(`cipher: ${RegExp.escape(name)}`),
        }),
    )

const ROWS: readonly MetadataCase[] = [
    {
        name: 'a section that is missing',
        set: { tokens: undefined },
        fails: 'metadata',
        code: 'ERR_LUKS_METADATA',
        says: /tokens: /,
        dump: null,
    },
    {
        name: 'a section that nobody knows',
        set: { segments2: {} },
        fails: 'metadata',
        code: 'ERR_LUKS_METADATA',
        says: /"segments2"/,
    },
    {
        name: 'an object without a type',
        set: { 'keyslots.1.type': undefined },
        fails: 'metadata',
        code: 'ERR_LUKS_METADATA',
        says: /keyslots\.1\.type/,
        dump: null,
    },
    {
        name: 'a key slot whose number is none',
        set: { 'keyslots.007': GOOD.keyslots[1] },
        fails: 'metadata',
        code: 'ERR_LUKS_METADATA',
        says: /expected the keys to be numbers from 0 to 31/,
        dump: null,
    },
    {
        name: 'a re-encryption by its requirement',
        set: { 'config.requirements': { mandatory: ['online-reencrypt-v2'] } },
        fails: 'reencryption',
        code: 'ERR_LUKS_REENCRYPTION',
        says: /the requirement "online-reencrypt-v2"/,
        dump: null,
    },
    {
        name: 'a re-encryption by its key slot',
        set: {
            'keyslots.2': {
                type: 'reencrypt',
                key_size: 1,
                mode: 'reencrypt',
                direction: 'forward',
                area: { type: 'none', offset: '548864', size: '4096' },
            },
        },
        fails: 'reencryption',
        code: 'ERR_LUKS_REENCRYPTION',
        says: /key slot 2/,
        dump: null,
    },
    {
        name: 'a re-encryption by a segment that is kept for it',
        set: { 'segments.1': { ...CRYPT, flags: ['backup-final'] }, 'digests.0.segments': ['0', '1'] },
        fails: 'reencryption',
        code: 'ERR_LUKS_REENCRYPTION',
        says: /segment 1 \("backup-final"\)/,
    },
    {
        name: 'a requirement that is known',
        set: { 'config.requirements': { mandatory: ['opal'] } },
        fails: 'requirements',
        code: 'ERR_LUKS_REQUIREMENT',
        says: /got "opal": the drive encrypts/,
    },
    {
        name: 'a requirement that nobody knows',
        set: { 'config.requirements': { mandatory: ['quantum'] } },
        fails: 'requirements',
        code: 'ERR_LUKS_REQUIREMENT',
        says: /expected none, got "quantum"/,
    },
    {
        name: 'requirements that are not mandatory',
        set: { 'config.requirements': { optional: [] } },
        fails: 'metadata',
        code: 'ERR_LUKS_METADATA',
        says: /config\.requirements: .*"optional"/,
    },
    {
        name: 'a flag that nobody knows',
        set: { 'config.flags': ['allow-discards', 'no-encryption'] },
        fails: 'flags',
        code: 'ERR_LUKS_UNKNOWN',
        says: /got "no-encryption"/,
    },
    {
        name: 'a JSON area of another size than its header says',
        set: { 'config.json_size': '28672' },
        fails: 'sizes',
        code: 'ERR_LUKS_HEADER',
        says: /json_size: expected 12288, got 28672/,
        dump: null,
    },
    {
        name: 'a key-slot area that is not whole pages',
        set: { 'config.keyslots_size': '557057' },
        fails: 'sizes',
        code: 'ERR_LUKS_HEADER',
        says: /keyslots_size: expected a multiple of 4096 up to 134217728, got 557057/,
        dump: null,
    },
    {
        name: 'a key-slot area that is larger than any',
        set: { 'config.keyslots_size': '135266304', 'segments.0.offset': '268435456' },
        fails: 'sizes',
        code: 'ERR_LUKS_HEADER',
        says: /got 135266304/,
        dump: null,
    },
    {
        name: 'no segment',
        set: { segments: {} },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /expected one segment, 0, got none/,
        dump: null,
    },
    {
        name: 'a second segment, encrypted',
        set: { 'segments.0.size': '1048576', 'segments.1': CRYPT },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /expected one segment, 0, got 0, 1/,
        dump: null,
    },
    {
        name: 'a second segment, in the clear',
        set: { 'segments.0.size': '1048576', 'segments.1': { type: 'linear', offset: '2097152', size: 'dynamic' } },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /expected one segment, 0, got 0, 1/,
        dump: /1: linear/,
    },
    {
        name: 'the data in the clear',
        set: { 'segments.0': { type: 'linear', offset: '1048576', size: 'dynamic' } },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /type: expected crypt, got "linear": it is not encrypted/,
        dump: /0: linear/,
    },
    {
        name: 'data that the drive encrypts',
        set: { 'segments.0.type': 'hw-opal', 'segments.0.opal_segment_number': 1 },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /got "hw-opal": the drive encrypts it/,
    },
    {
        name: 'a segment of a type that nobody knows',
        set: { 'segments.0.type': 'magic' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /type: expected crypt, got "magic"/,
    },
    {
        name: 'a member of the segment that nobody knows',
        set: { 'segments.0.encryption2': 'cipher_null-ecb' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /segment 0: .*"encryption2"/,
    },
    {
        name: 'a flag of the segment',
        set: { 'segments.0.flags': ['read-in-clear'] },
        fails: 'segment',
        code: 'ERR_LUKS_UNKNOWN',
        says: /flags: expected none, got "read-in-clear"/,
    },
    {
        name: 'data that begins in the header',
        set: { 'segments.0.offset': '0' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /offset: expected a multiple of 512 from 589824, got 0/,
    },
    {
        name: 'data that begins in the key slots',
        set: { 'segments.0.offset': '589312' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /from 589824, got 589312/,
        dump: null,
    },
    {
        name: 'a size of no whole sectors',
        set: { 'segments.0.size': '1049088' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /size: expected a multiple of 4096, got 1049088/,
        dump: null,
    },
    {
        name: 'an offset that is a number',
        set: { 'segments.0.offset': 1048576 },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /segment 0: offset: /,
        dump: null,
    },
    {
        name: 'an offset with a zero before it',
        set: { 'segments.0.offset': '01048576' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /offset: expected a decimal number/,
    },
    {
        name: 'a tweak that begins elsewhere',
        set: { 'segments.0.iv_tweak': '8' },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /iv_tweak: expected 0, got "8"/,
    },
    {
        name: 'sectors of 1 MiB',
        set: { 'segments.0.sector_size': 1048576 },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /sector_size: expected 512 or 4096, got 1048576/,
    },
    {
        name: 'a journal that is encrypted otherwise',
        set: { 'segments.0.integrity': { ...integrity('hmac(sha256)'), journal_encryption: 'null' } },
        fails: 'segment',
        code: 'ERR_LUKS_SEGMENT',
        says: /integrity\.journal_encryption: expected none, got "null"/,
    },
    ...ciphers(NULL_CIPHERS, 'ERR_LUKS_NULL_CIPHER', /the data: ".*" encrypts nothing/),
    ...ciphers(WEAK_CIPHERS, 'ERR_LUKS_CIPHER', /the data: expected aes-xts-plain64, .*, got "/),
    {
        name: 'an AEAD whose cipher is null',
        set: { 'segments.0.encryption': 'cipher_null-ecb', 'segments.0.integrity': integrity('aead') },
        fails: 'cipher',
        code: 'ERR_LUKS_NULL_CIPHER',
        says: /encrypts nothing/,
    },
    {
        name: 'an integrity that is only a sum',
        set: { 'segments.0.integrity': integrity('crc32c') },
        fails: 'cipher',
        code: 'ERR_LUKS_CIPHER',
        says: /the data: expected .*, got "aes-xts-plain64 crc32c"/,
    },
    {
        name: 'an authentication key that takes bits of the cipher',
        set: {
            'segments.0.integrity': { ...integrity('hmac(sha256)'), key_size: 64 },
            'keyslots.0.key_size': 96,
            'keyslots.0.area.size': '385024',
            'keyslots.1.key_size': 96,
            'keyslots.1.area.offset': '417792',
            'keyslots.1.area.size': '385024',
            'config.keyslots_size': '770048',
        },
        fails: 'cipher',
        code: 'ERR_LUKS_KEY_SIZE',
        says: /integrity\.key_size: expected 32, got 64/,
    },
]

export const FORGED_DATA: readonly Case[] = ROWS.map(metadataCase)
