// What an initrd notes down of injected secrets: those that opened something, whatever the header of a disk names.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { decryptSev, encryptSev } from '#clevis/sev-pin.ts'
import { injectedFrom } from '#cli/injected.ts'
import { type Secret, secret } from '#core/bytes.ts'
import { driverError } from '#drivers/errors.ts'

const GUID = '5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e'
const KEY = Buffer.alloc(32, 0xfe)

/** A guest into which this was injected. */
function guest(bytes: Uint8Array | null) {
    const noted: string[] = []
    const copies: Secret[] = []
    const injected = injectedFrom({
        async read(guid) {
            if (!bytes) throw driverError('ERR_SECRET_MISSING', guid)
            const copy = secret(Buffer.from(bytes))
            copies.push(copy)
            return copy
        },
        note: (guid) => void noted.push(guid),
    })
    return { injected, noted, copies }
}

for (const { name, bytes, code, noted } of [
    { name: 'it opens', bytes: KEY, code: null, noted: [GUID] },
    { name: 'a token that somebody else has sealed', bytes: Buffer.alloc(32, 1), code: 'ERR_JWE', noted: [] },
    { name: 'a secret that is no key', bytes: Buffer.from('text'), code: 'ERR_CLEVIS_KEY_FILE', noted: [] },
    { name: 'a secret that is not there', bytes: null, code: 'ERR_SECRET_MISSING', noted: [] },
])
    test(`noted: ${name}`, async (t) => {
        const jwe = await encryptSev(JSON.stringify({ guid: GUID }), Buffer.from('x'), guest(KEY).injected)
        const own = guest(bytes)
        if (code === null) t.is((await decryptSev(jwe, own.injected)).toString(), 'x')
        else await t.throwsAsync(decryptSev(jwe, own.injected), { code })
        t.deepEqual(own.noted, noted)
        for (const copy of own.copies) t.true(copy.every((byte) => byte === 0))
    })
