// Forgeries of the metadata, under checksums that hold: what a host would write.
// SPDX-License-Identifier: Apache-2.0

import { type Changes, goodMetadata } from './forge.ts'
import type { Case } from './forged.test.ts'

/** The members of a case that most cases share. */
type Row = Omit<Case, 'forgery' | 'dump'> & {
    readonly set: Changes
    /** What cryptsetup shows; most forgeries it shows as they are. */
    readonly dump?: RegExp | null
}

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

const costlySlot = (id: number) => ({
    ...GOOD.keyslots[1],
    area: { ...GOOD.keyslots[1].area, offset: `${32768 + id * 258048}` },
    kdf: { ...GOOD.keyslots[1].kdf, iterations: 50_000_000 },
})

/** Null, in each spelling that cryptsetup has or had for it. */
const NULL_CIPHERS = ['cipher_null-ecb', 'cipher_null', 'null', 'NULL-ecb', 'capi:ecb(cipher_null)-plain64']

/** Ciphers that encrypt, and are not accepted. */
const WEAK_CIPHERS = [
    'aes-ecb',
    'aes-cbc-essiv:sha256',
    'aes-ctr-plain64',
    'aes-xts-plain',
    'capi:xts(aes)-plain64',
    'rot13',
]

const dataCiphers = (names: string[], code: string, says: RegExp) =>
    names.map(
        (name): Row => ({
            name: `data cipher ${name}`,
            set: { 'segments.0.encryption': name },
            fails: 'cipher',
            code,
            says,
            dump: new RegExp(`cipher: ${RegExp.escape(name)}`),
        }),
    )

const slotCiphers = (names: string[], code: string, says: RegExp) =>
    names.map(
        (name): Row => ({
            name: `key-slot cipher ${name}`,
            set: { 'keyslots.1.area.encryption': name },
            fails: 'key-slot-ciphers',
            code,
            says,
            dump: new RegExp(`Cipher:\\s+${RegExp.escape(name)}`),
        }),
    )

const kdf = (name: string, kdf: object, says: RegExp, code = 'ERR_LUKS_KDF'): Row => ({
    name: `key derivation: ${name}`,
    set: { 'keyslots.0.kdf': { ...GOOD.keyslots[0].kdf, ...kdf } },
    fails: 'kdf',
    code,
    says,
})

const pbkdf2 = (change: object) => ({
    type: 'pbkdf2',
    hash: 'sha256',
    iterations: 1000,
    time: undefined,
    memory: undefined,
    cpus: undefined,
    ...change,
})

const ROWS: readonly Row[] = [
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
        says: /expected a number from 0 to 31/,
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
    ...dataCiphers(NULL_CIPHERS, 'ERR_LUKS_NULL_CIPHER', /the data: ".*" encrypts nothing/),
    ...dataCiphers(WEAK_CIPHERS, 'ERR_LUKS_CIPHER', /the data: expected aes-xts-plain64, .*, got "/),
    ...slotCiphers(NULL_CIPHERS, 'ERR_LUKS_NULL_CIPHER', /key slot 1: ".*" encrypts nothing/),
    ...slotCiphers(WEAK_CIPHERS, 'ERR_LUKS_CIPHER', /key slot 1: expected aes-xts-plain64, .*, got "/),
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
    {
        name: 'no key slot',
        set: { keyslots: {}, tokens: {}, 'digests.0.keyslots': [] },
        fails: 'key-slots',
        code: 'ERR_LUKS_KEYSLOT',
        says: /there is no key slot/,
    },
    {
        name: 'a key slot of a type that nobody knows',
        set: { 'keyslots.0.type': 'escrow' },
        fails: 'key-slots',
        code: 'ERR_LUKS_UNKNOWN',
        says: /key slot 0: type: expected luks2, got "escrow"/,
    },
    {
        name: 'a member of a key slot that nobody knows',
        set: { 'keyslots.0.area.key': '' },
        fails: 'key-slots',
        code: 'ERR_LUKS_KEYSLOT',
        says: /key slot 0: area: .*"key"/,
    },
    {
        name: 'a key that is not split',
        set: { 'keyslots.0.af.stripes': 1 },
        fails: 'key-slots',
        code: 'ERR_LUKS_KEYSLOT',
        says: /af\.stripes: expected 4000, got 1/,
    },
    {
        name: 'an area of another type',
        set: { 'keyslots.0.area.type': 'journal' },
        fails: 'key-slots',
        code: 'ERR_LUKS_KEYSLOT',
        says: /area\.type: expected raw, got "journal"/,
        dump: null,
    },
    {
        name: 'a key split with a broken hash',
        set: { 'keyslots.0.af.hash': 'md5' },
        fails: 'key-slots',
        code: 'ERR_LUKS_HASH',
        says: /key slot 0: af\.hash: expected sha256, sha384, sha512, got "md5"/,
    },
    {
        name: 'a priority that nobody knows',
        set: { 'keyslots.0.priority': 3 },
        fails: 'key-slots',
        code: 'ERR_LUKS_KEYSLOT',
        says: /priority: expected 0 or 1 or 2, got 3/,
    },
    {
        name: 'an area key of 0 bits',
        set: { 'keyslots.0.area.key_size': 0 },
        fails: 'key-slot-ciphers',
        code: 'ERR_LUKS_KEY_SIZE',
        says: /key slot 0: area\.key_size: expected a key of 256 or 512 bits, got 0/,
    },
    {
        name: 'an area key of 128 bits',
        set: { 'keyslots.0.area.key_size': 16 },
        fails: 'key-slot-ciphers',
        code: 'ERR_LUKS_KEY_SIZE',
        says: /expected a key of 256 or 512 bits, got 128/,
    },
    ...[0, 16, 48].map(
        (size): Row => ({
            name: `a volume key of ${8 * size} bits`,
            set: { 'keyslots.0.key_size': size, 'keyslots.1.key_size': size },
            fails: 'key-size',
            code: 'ERR_LUKS_KEY_SIZE',
            says: new RegExp(`key slot 0: key_size: expected a key of 256 or 512 bits, got ${8 * size}$`),
        }),
    ),
    {
        name: 'volume keys of two sizes',
        set: { 'keyslots.1.key_size': 32 },
        fails: 'key-size',
        code: 'ERR_LUKS_KEY_SIZE',
        says: /key slot 1: key_size: expected 64 as in the slot before, got 32/,
    },
    {
        name: 'an area in the metadata',
        set: { 'keyslots.0.area.offset': '16384' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /key slot 0: expected an area within \[32768, 589824\), got \[16384, 274432\)/,
        dump: null,
    },
    {
        name: 'an area in the data',
        set: { 'keyslots.1.area.offset': '589824' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /key slot 1: expected an area within/,
        dump: null,
    },
    {
        name: 'an area beyond 2^63',
        set: { 'keyslots.1.area.offset': '9223372036854775808' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /got \[9223372036854775808, 9223372036855033856\)/,
        dump: null,
    },
    {
        name: 'areas that overlap',
        set: { 'keyslots.1.area.offset': '286720' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /key slot 1: its area begins at 286720, inside one that ends at 290816/,
        dump: null,
    },
    {
        name: 'an area that begins between two pages',
        set: { 'keyslots.1.area.offset': '291328' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /offset 291328 is not a multiple of 4096/,
    },
    {
        name: 'an area that is too small for its key',
        set: { 'keyslots.1.area.size': '131072' },
        fails: 'areas',
        code: 'ERR_LUKS_AREA',
        says: /expected an area of at least 256000 bytes, got 131072/,
    },
    kdf('a type that nobody knows', { type: 'none' }, /kdf\.type: expected .*, got "none"/, 'ERR_LUKS_UNKNOWN'),
    kdf('one iteration', pbkdf2({ iterations: 1 }), /key slot 0: expected at least 1000 iterations, got 1/),
    kdf('2^32 - 1 iterations', pbkdf2({ iterations: 4294967295 }), /would take about 8590 s .* at most 120 s/),
    kdf('a broken hash', pbkdf2({ hash: 'md5' }), /kdf\.hash: expected .*, got "md5"/, 'ERR_LUKS_HASH'),
    kdf('a short salt', pbkdf2({ salt: 'AAAA' }), /kdf: salt: expected base64 of 32 bytes/),
    kdf('an unknown member', pbkdf2({ pepper: '' }), /"pepper"/),
    kdf('16 TiB of memory', { memory: 4294967295 }, /kdf\.memory: expected 32 to 4194304, got 4294967295/),
    kdf('a million passes', { time: 1_000_000 }, /would take about 2000000 s on a slow core/),
    kdf('a thousand cores', { cpus: 1000 }, /kdf\.cpus: expected 1 to 4, got 1000/),
    kdf('no pass', { time: 0 }, /kdf\.time: expected 4 to 4294967295, got 0/),
    {
        name: 'thirty-two key slots that each just pass',
        set: {
            keyslots: Object.fromEntries(Array.from({ length: 32 }, (_, id) => [id, costlySlot(id)])),
            'digests.0.keyslots': Array.from({ length: 32 }, (_, id) => `${id}`),
            'config.keyslots_size': '8257536',
            'segments.0.offset': '16777216',
        },
        fails: 'kdf',
        code: 'ERR_LUKS_KDF',
        says: /all key slots together would take about 3200 s .* at most 600 s/,
    },
    {
        name: 'no digest',
        set: { digests: {} },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /expected one digest, got 0/,
        dump: null,
    },
    {
        name: 'two digests for one segment',
        set: { 'digests.1': GOOD.digests[0] },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /expected one digest, got 2/,
        dump: null,
    },
    {
        name: 'a digest that does not cover the data',
        set: { 'digests.0.segments': [] },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /expected the segments 0, got ""/,
        dump: null,
    },
    {
        name: 'a digest that leaves a key slot out',
        set: { 'digests.0.keyslots': ['0'] },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /expected the key slots 0, 1, got "0"/,
        dump: null,
    },
    {
        name: 'a digest of a key slot that does not exist',
        set: { 'digests.0.keyslots': ['0', '1', '9'] },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /expected the key slots 0, 1, got "0, 1, 9"/,
        dump: null,
    },
    {
        name: 'a digest of a type that nobody knows',
        set: { 'digests.0.type': 'none' },
        fails: 'digest',
        code: 'ERR_LUKS_UNKNOWN',
        says: /digest: type: expected pbkdf2, got "none"/,
    },
    {
        name: 'a digest of one byte',
        set: { 'digests.0.digest': 'tQ==' },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /digest: expected 20 or 32 bytes, got 1/,
    },
    {
        name: 'a digest that takes hours',
        set: { 'digests.0.iterations': 4294967295 },
        fails: 'digest',
        code: 'ERR_LUKS_KDF',
        says: /digest: pbkdf2 with 4294967295 iterations would take about 8590 s/,
    },
    {
        name: 'a token of a type that nobody knows: cryptsetup would look for its plug-in',
        set: { 'tokens.1': { type: 'host-agent', keyslots: [] } },
        fails: 'tokens',
        code: 'ERR_LUKS_UNKNOWN',
        says: /token 1: type: expected clevis, .*, got "host-agent"/,
    },
    {
        name: 'a token of a key slot that does not exist',
        set: { 'tokens.0.keyslots': ['7'] },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: there is no key slot "7"/,
        dump: null,
    },
    {
        name: 'a token without key slots',
        set: { 'tokens.0.keyslots': undefined },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: keyslots/,
        dump: null,
    },
]

export const FORGED_METADATA: readonly Case[] = ROWS.map(({ set, dump, ...row }) => ({
    ...row,
    forgery: { set },
    dump: dump === undefined ? /LUKS header information/ : dump,
}))
