// Forgeries of key slots, their derivation, digest and tokens, under checksums that hold: what a host would write.
// SPDX-License-Identifier: Apache-2.0

import { type Case, goodMetadata, type MetadataCase, metadataCase, protectedFor, protectedForSome } from './forge.ts'
import { NULL_CIPHERS, WEAK_CIPHERS } from './forged-data.ts'

const GOOD = goodMetadata()

const costlySlot = (id: number) => ({
    ...GOOD.keyslots[1],
    area: { ...GOOD.keyslots[1].area, offset: `${32768 + id * 258048}` },
    kdf: { ...GOOD.keyslots[1].kdf, iterations: 50_000_000 },
})

const ciphers = (names: string[], code: string, says: RegExp) =>
    names.map(
        (name): MetadataCase => ({
            name: `key-slot cipher ${name}`,
            set: { 'keyslots.1.area.encryption': name },
            fails: 'key-slot-ciphers',
            code,
            says,
            dump: new RegExp(`Cipher:\\s+${RegExp.escape(name)}`),
        }),
    )

const kdf = (name: string, kdf: object, says: RegExp, code = 'ERR_LUKS_KDF'): MetadataCase => ({
    name: `key derivation: ${name}`,
    set: { 'keyslots.0.kdf': kdf },
    fails: 'kdf',
    code,
    says,
})

const argon2 = (change: object) => ({ ...GOOD.keyslots[0].kdf, ...change })
const pbkdf2 = (change: object) => ({ ...GOOD.keyslots[1].kdf, ...change })

const ROWS: readonly MetadataCase[] = [
    ...ciphers(NULL_CIPHERS, 'ERR_LUKS_NULL_CIPHER', /key slot 1: ".*" encrypts nothing/),
    ...ciphers(WEAK_CIPHERS, 'ERR_LUKS_CIPHER', /key slot 1: expected aes-xts-plain64, .*, got "/),
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
        (size): MetadataCase => ({
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
    kdf('a type that nobody knows', pbkdf2({ type: 'none' }), /kdf\.type: expected .*, got "none"/, 'ERR_LUKS_UNKNOWN'),
    kdf('one iteration', pbkdf2({ iterations: 1 }), /key slot 0: expected at least 1000 iterations, got 1/),
    kdf(
        '2^32 - 1 iterations',
        pbkdf2({ iterations: 4294967295 }),
        /expected at most 120 s on a slow core, got about 8590 s/,
    ),
    kdf('a broken hash', pbkdf2({ hash: 'md5' }), /kdf\.hash: expected .*, got "md5"/, 'ERR_LUKS_HASH'),
    kdf('a short salt', pbkdf2({ salt: 'AAAA' }), /kdf: salt: expected base64 of 32 bytes/),
    kdf('an unknown member', pbkdf2({ pepper: '' }), /"pepper"/),
    kdf('16 TiB of memory', argon2({ memory: 4294967295 }), /kdf\.memory: expected 32 to 4194304, got 4294967295/),
    kdf('a million passes', argon2({ time: 1_000_000 }), /got about 2000000 s/),
    kdf('a thousand cores', argon2({ cpus: 1000 }), /kdf\.cpus: expected 1 to 4, got 1000/),
    kdf('no pass', argon2({ time: 0 }), /kdf\.time: expected 4 to 4294967295, got 0/),
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
        says: /all key slots together: expected at most 600 s on a slow core, got about 3200 s/,
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
        says: /expected the segments 0, got none/,
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
        says: /expected the key slots 0, 1, got "0", "1", "9"/,
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
        says: /digest: pbkdf2 with 4294967295 iterations: .* got about 8590 s/,
    },
    {
        name: 'a token of a type that nobody knows: cryptsetup would look for its plug-in',
        set: { 'tokens.1': { type: 'host-agent', keyslots: [] } },
        fails: 'tokens',
        code: 'ERR_LUKS_UNKNOWN',
        says: /token 1: type: expected guest-attest, clevis, .*, got "host-agent"/,
    },
    {
        name: 'a clevis token that opens for everybody',
        set: { 'tokens.0.jwe.protected': protectedFor('null') },
        fails: 'tokens',
        code: 'ERR_LUKS_PIN',
        says: /token 0: expected the clevis pin kbs, sev, got null/,
    },
    {
        name: 'a clevis token whose server the header names',
        set: { 'tokens.0.jwe.protected': protectedFor('tang') },
        fails: 'tokens',
        code: 'ERR_LUKS_PIN',
        says: /got tang/,
    },
    {
        name: 'a clevis token that opens with the broker, or without it',
        set: { 'tokens.0.jwe.protected': protectedForSome(1, protectedFor('kbs'), protectedFor('tang')) },
        fails: 'tokens',
        code: 'ERR_LUKS_PIN',
        says: /got sss \(1 of kbs, tang\)/,
    },
    {
        name: 'the same, deeper',
        set: {
            'tokens.0.jwe.protected': protectedForSome(
                2,
                protectedFor('kbs'),
                protectedFor('null'),
                protectedForSome(1, protectedFor('kbs'), protectedFor('tpm2')),
            ),
        },
        fails: 'tokens',
        code: 'ERR_LUKS_PIN',
        says: /got sss \(2 of kbs, null, sss \(1 of kbs, tpm2\)\)/,
    },
    {
        name: 'a clevis token of pins without an end',
        set: {
            'tokens.0.jwe.protected': [1, 2, 3, 4].reduce((inner) => protectedForSome(1, inner), protectedFor('kbs')),
        },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: pins within pins, deeper than 4/,
    },
    {
        name: 'a clevis token of no share at all',
        set: { 'tokens.0.jwe.protected': protectedForSome(0, protectedFor('kbs')) },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: sss: t/,
    },
    {
        name: 'a clevis token that says two things',
        set: { 'tokens.0.jwe.protected': Buffer.from('{"clevis":{"pin":"kbs","pin":"null"}}').toString('base64url') },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: jwe: .*pin/,
    },
    {
        name: 'a clevis token whose header is no base64url',
        set: { 'tokens.0.jwe.protected': 'eyJ9=' },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: jwe: its header/,
    },
    {
        name: 'a clevis token without its JWE',
        set: { 'tokens.0.jwe': undefined },
        fails: 'tokens',
        code: 'ERR_LUKS_TOKEN',
        says: /token 0: jwe/,
    },
    {
        name: 'a digest that names two key slots in one word',
        set: { 'digests.0.keyslots': ['0, 1'] },
        fails: 'digest',
        code: 'ERR_LUKS_DIGEST',
        says: /digest: expected the key slots 0, 1, got "0, 1"/,
        dump: null,
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

export const FORGED_KEYSLOTS: readonly Case[] = ROWS.map(metadataCase)
