// A passphrase that is typed: what the keys mean, and that nothing of it stays in the memory of what the terminal gave.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type Terminal, typed } from '#cli/luks/passphrase.ts'

/** A terminal where these chunks are typed. */
function terminal(...texts: string[]) {
    const chunks = texts.map((text) => Buffer.from(text))
    const raw: boolean[] = []
    let destroyed = false
    const fake = {
        setRawMode: (on: boolean) => void raw.push(on),
        destroy() {
            destroyed = true
        },
        async *[Symbol.asyncIterator]() {
            yield* chunks
        },
    }
    return { terminal: fake as unknown as Terminal, chunks, raw, destroyed: () => destroyed }
}

for (const { name, keys, want } of [
    { name: 'at once', keys: ['horse\n'], want: 'horse' },
    { name: 'key by key', keys: [...'horse', '\r'], want: 'horse' },
    { name: 'with a correction', keys: ['hoo\u007frse\n'], want: 'horse' },
    { name: 'more corrections than keys', keys: ['\b\bhorse\n'], want: 'horse' },
    { name: 'more than anybody types', keys: [`${'x'.repeat(600)}\n`], want: 'x'.repeat(512) },
    { name: 'with more behind it', keys: ['horse\nbattery'], want: 'horse' },
])
    test(`a passphrase: ${name}`, async (t) => {
        const { terminal: at, chunks, raw, destroyed } = terminal(...keys)
        t.is((await typed('', at)).toString(), want)
        for (const chunk of chunks) t.true(chunk.every((byte) => byte === 0))
        t.deepEqual(raw, [true, false])
        t.true(destroyed())
    })

for (const { name, keys } of [
    { name: 'control-C', keys: ['horse\u0003'] },
    { name: 'the end of the input', keys: ['hor', 'se'] },
])
    test(`no passphrase: ${name}`, async (t) => {
        const { terminal: at, chunks, destroyed } = terminal(...keys)
        await t.throwsAsync(typed('', at), { code: 'ERR_INTERRUPTED' })
        for (const chunk of chunks) t.true(chunk.every((byte) => byte === 0))
        t.true(destroyed())
    })
