// Who can open a volume, and what other programs would make of its bindings.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { formatBinding } from '#luks/binding.ts'
import { metadataOf } from '#luks/metadata.ts'
import { report } from '#luks/report.ts'
import { type Changes, forge, protectedFor, protectedForSome } from './forge.ts'

const reportOn = (set: Changes = {}) => report(metadataOf(forge({ set })))

const OURS = formatBinding({
    keyslot: '1',
    path: 'default/luks/a',
    version: 2,
    salt: Buffer.alloc(32),
    digest: Buffer.alloc(32),
})

const clevis = (header: string): Changes => ({
    'tokens.0': { type: 'clevis', keyslots: ['1'], jwe: { protected: header } },
})

test('a binding of ours, a passphrase, and nothing to say', (t) => {
    t.deepEqual(reportOn({ 'tokens.0': OURS }), {
        tokens: [{ id: '0', type: 'guest-attest', keyslots: ['1'], opensWith: 'default/luks/a, version 2' }],
        bare: ['0'],
        warnings: [],
    })
})

for (const { name, header, shows, warnings } of [
    { name: 'our pin', header: protectedFor('kbs'), shows: "unknown pin 'kbs'", warnings: [] },
    { name: 'our other pin', header: protectedFor('sev'), shows: "unknown pin 'sev'", warnings: [] },
    {
        name: 'both, one of them in sss again',
        header: protectedForSome(2, protectedForSome(1, protectedFor('kbs')), protectedFor('sev')),
        shows: 'sss with t=2 of sss (1 of kbs): the share of kbs, sev is missing',
        warnings: [/would ask for 2 of 1 shares, which never opens/],
    },
    { name: 'another pin', header: protectedFor('tang'), shows: undefined, warnings: [] },
    {
        name: 'one of two: edit would leave the other alone',
        header: protectedForSome(1, protectedFor('kbs'), protectedFor('tang')),
        shows: 'sss with t=1 of tang: the share of kbs is missing',
        warnings: [
            /`clevis luks edit` and `clevis luks regen` would need no kbs any more: 1 of tang would open it/,
            /1 of the shares that need no attested guest open it/,
        ],
    },
    {
        name: 'two of two: edit would never open again',
        header: protectedForSome(2, protectedFor('kbs'), protectedFor('tang')),
        shows: 'sss with t=2 of tang: the share of kbs is missing',
        warnings: [/would ask for 2 of 1 shares, which never opens/],
    },
    {
        name: 'nothing but ours',
        header: protectedForSome(1, protectedFor('kbs')),
        shows: 'sss with t=1 of nothing: the share of kbs is missing',
        warnings: [/would bind to nothing/],
    },
    {
        name: 'without ours, sss is clevis’ own affair, but for who opens it',
        header: protectedForSome(1, protectedFor('tang'), protectedFor('tpm2')),
        shows: undefined,
        warnings: [/1 of the shares that need no attested guest open it/],
    },
])
    test(`clevis: ${name}`, (t) => {
        const found = reportOn(clevis(header))
        t.is(found.tokens[0]?.clevisShows, shows)
        t.is(found.warnings.length, warnings.length, found.warnings.join('\n'))
        for (const [i, says] of warnings.entries()) t.regex(found.warnings[i] ?? '', says)
    })

for (const { name, set, says } of [
    {
        name: 'two versions of one resource',
        set: { 'tokens.0': OURS, 'tokens.1': { ...OURS, version: 3 } },
        says: /default\/luks\/a is bound 2 times \(versions 2, 3\): `guest-attest luks rebind` ends what was interrupted/,
    },
    {
        name: 'no key slot for recovery',
        set: { 'tokens.0': OURS, 'tokens.1': { ...OURS, path: 'default/luks/b', keyslots: ['0'] } },
        says: /no key slot is left for recovery/,
    },
    {
        name: 'a token of ours that cannot be read',
        set: { 'tokens.0': { ...OURS, more: 1 } },
        says: /token 0 cannot be read: .*more/,
    },
    {
        name: 'an unknown type',
        set: { 'tokens.0': { type: 'x', keyslots: ['1'] } },
        says: /token 0 is of the unknown type x/,
    },
] as { name: string; set: Changes; says: RegExp }[])
    test(`said: ${name}`, (t) => t.regex(reportOn(set).warnings.join('\n'), says))
