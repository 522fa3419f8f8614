// Which key slot a released key opens: that of the binding whose digest holds, whatever stands beside it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type Secret, secret } from '#core/bytes.ts'
import { formatResourcePath } from '#kbs/messages.ts'
import { bindingKeys, formatBinding, headerDigest } from '#luks/binding.ts'
import { boundTo, keySlotOf, versionsOf } from '#unlock/key-slot.ts'
import { PATH } from '../kbs/scripted.ts'
import { forge } from '../luks/forge.ts'

const KEY: Secret = secret(Buffer.alloc(32, 7))
const path = formatResourcePath(PATH)
const salt = Buffer.alloc(32, 3)

/** The copies, and key-slot areas behind them. */
const image = (tokens: Readonly<Record<string, unknown>>) =>
    Buffer.concat([
        forge({ set: Object.fromEntries(Object.entries(tokens).map(([id, token]) => [`tokens.${id}`, token])) }),
        Buffer.alloc(1024 * 1024),
    ])

/** A token of a version; where it was made for another header, its digest does not hold. */
function token(keyslot: string, version: number | null, made: 'here' | 'elsewhere') {
    const { headerKey } = bindingKeys(KEY, { path, version, salt })
    const digest = made === 'here' ? headerDigest(image({}), headerKey) : Buffer.alloc(32)
    return formatBinding({ keyslot, path, version, salt, digest })
}

const open = (tokens: Readonly<Record<string, unknown>>, asked: number | null) =>
    keySlotOf(boundTo(image(tokens), '/dev/x', PATH, 'bind'), { key: KEY, version: asked, asked })

for (const { name, tokens, asked, keyslot } of [
    { name: 'the only one', tokens: { 1: token('1', 3, 'here') }, asked: 3, keyslot: '1' },
    {
        name: 'not the first of that version',
        tokens: { 1: token('0', 3, 'elsewhere'), 2: token('1', 3, 'here') },
        asked: 3,
        keyslot: '1',
    },
    {
        name: 'of two versions, the one that was asked for',
        tokens: { 1: token('0', 4, 'here'), 2: token('1', 3, 'here') },
        asked: 3,
        keyslot: '1',
    },
    { name: 'one without versions', tokens: { 1: token('1', null, 'here') }, asked: null, keyslot: '1' },
])
    test(`the binding that holds: ${name}`, (t) => {
        const { binding, passphrase } = open(tokens, asked)
        t.is(binding.keyslot, keyslot)
        t.deepEqual(passphrase, bindingKeys(KEY, binding).passphrase)
    })

test('no binding holds', (t) => {
    t.throws(() => open({ 1: token('1', 3, 'elsewhere') }, 3), { code: 'ERR_LUKS_HEADER_DIGEST' })
})

test('versions, the newest first and each once', (t) => {
    const tokens = { 1: token('0', 3, 'here'), 2: token('1', 4, 'here'), 3: token('1', 3, 'here') }
    t.deepEqual(versionsOf(boundTo(image(tokens), '/dev/x', PATH, 'bind')), [4, 3])
})

test('a header that is bound to something else', (t) => {
    t.throws(() => boundTo(image({}), '/dev/x', PATH, 'enroll'), {
        code: 'ERR_UNLOCK_UNBOUND',
        message: `/dev/x is not bound to ${path}`,
    })
})
