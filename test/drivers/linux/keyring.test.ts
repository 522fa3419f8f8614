// The kernel's keyring: what is kept there, found and taken away; what each refusal of the kernel becomes.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type KeyCalls, keyring } from '#drivers/linux/keyring.ts'
import { libc } from '#drivers/linux/libc.ts'

const NAME = `guest-attest:test-${process.pid}`

const text = (bytes: unknown): string => (bytes as Buffer).toString('latin1').replace(/\0$/, '')

/** A kernel with keys of one type, in one keyring. */
function kernel(fails: Partial<Record<number | 'add', number>> = {}) {
    const keys = new Map<number, { name: string; bytes: Buffer }>()
    const told = (result: number) => ({ result, errno: 0 })
    const failed = (errno: number) => ({ result: -1, errno })
    let linked = false
    const operations: Readonly<Record<number, (id: number, second: unknown, third: unknown) => number | null>> = {
        8: (from, to) => {
            linked = from === -4 && to === -2
            return 0
        },
        9: (id) => (linked && keys.delete(id) ? 0 : null),
        10: (ring, type, name) =>
            linked && ring === -4 && text(type) === 'user'
                ? ([...keys].find(([, key]) => key.name === text(name))?.[0] ?? null)
                : null,
        11: (id, into) => {
            const key = keys.get(id)
            key?.bytes.copy(into as Buffer)
            return key?.bytes.length ?? null
        },
    }
    const calls: KeyCalls = {
        addKey(type, name, payload, ring) {
            if (fails.add !== undefined) return failed(fails.add)
            if (text(type) !== 'user' || ring !== -4) return failed(22)
            const known = [...keys].find(([, key]) => key.name === text(name))?.[0]
            const id = known ?? keys.size + 100
            keys.set(id, { name: text(name), bytes: Buffer.from(payload) })
            return told(id)
        },
        keyctl(operation, id, second, third) {
            const errno = fails[operation]
            if (errno !== undefined) return failed(errno)
            const result = operations[operation]?.(id, second, third) ?? null
            return result === null ? failed(126) : told(result)
        },
    }
    return { keys, keyring: keyring(() => calls) }
}

test('kept, replaced, read and taken away', (t) => {
    const { keyring } = kernel()
    t.is(keyring.read(NAME), null)
    keyring.put(NAME, Buffer.from('first'))
    keyring.put(NAME, Buffer.from('second'))
    t.is(keyring.read(NAME)?.toString(), 'second')
    keyring.remove(NAME)
    t.is(keyring.read(NAME), null)
    t.notThrows(() => keyring.remove(NAME))
})

for (const { name, fails, act } of [
    { name: 'searching', fails: { 10: 1 }, act: 'read' },
    { name: 'reading', fails: { 11: 13 }, act: 'read' },
    { name: 'adding', fails: { add: 122 }, act: 'put' },
    { name: 'linking', fails: { 8: 13 }, act: 'put' },
    { name: 'removing', fails: { 9: 13 }, act: 'remove' },
] as const)
    test(`refused: ${name}`, (t) => {
        const { keyring, keys } = kernel(fails)
        keys.set(100, { name: NAME, bytes: Buffer.from('x') })
        const run = {
            read: () => keyring.read(NAME),
            put: () => keyring.put(NAME, Buffer.from('x')),
            remove: () => keyring.remove(NAME),
        }
        t.throws(() => run[act](), { code: 'ERR_KEYRING', message: /errno \d+/ })
    })

for (const errno of [126, 127, 128])
    test(`not there, or not any more: errno ${errno}`, (t) => t.is(kernel({ 10: errno }).keyring.read(NAME), null))

const real = keyring(libc)

function works(): boolean {
    try {
        real.put(NAME, Buffer.from('x'))
        real.remove(NAME)
        return true
    } catch {
        return false
    }
}

const here = works() ? test : test.skip

here('this kernel', (t) => {
    t.teardown(() => real.remove(NAME))
    t.is(real.read(NAME), null)
    const bytes = Buffer.from(Array.from({ length: 700 }, (_, at) => at & 0xff))
    real.put(NAME, bytes)
    t.deepEqual(Buffer.from(real.read(NAME) ?? []), bytes)
    real.put(NAME, Buffer.from('another'))
    t.is(real.read(NAME)?.toString(), 'another')
    real.remove(NAME)
    t.is(real.read(NAME), null)
})
