// The kernel's keyring: what is kept there, and found; what each refusal of the kernel becomes.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { type KeyCalls, keyCalls } from '#drivers/linux/key-calls.ts'
import { keyring } from '#drivers/linux/keyring.ts'
import { boundCall } from '#drivers/linux/libc.ts'

const NAME = `guest-attest:test-${process.pid}`

/** A kernel with keys in one keyring. Each call can fail with an errno. */
function kernel(fails: Partial<Record<keyof KeyCalls, number>> = {}) {
    const keys = new Map<number, { name: string; bytes: Buffer }>()
    let linked = false
    const idOf = (wanted: string) => [...keys].find(([, { name }]) => name === wanted)?.[0]
    const works: KeyCalls = {
        add(name, payload, ring) {
            if (ring !== -4) return -22
            const id = idOf(name) ?? keys.size + 100
            keys.set(id, { name, bytes: Buffer.from(payload) })
            return id
        },
        link(id, ring) {
            linked = id === -4 && ring === -2
            return 0
        },
        search: (ring, name) => (linked && ring === -4 && idOf(name)) || -126,
        read(id, into) {
            const key = keys.get(id)
            key?.bytes.copy(into)
            return key?.bytes.length ?? -126
        },
    }
    const refuses = Object.fromEntries(Object.entries(fails).map(([name, errno]) => [name, () => -errno]))
    return { keys, keyring: keyring(() => ({ ...works, ...refuses })) }
}

test('kept, replaced and read', (t) => {
    const { keyring } = kernel()
    t.is(keyring.read(NAME), null)
    keyring.put(NAME, Buffer.from('first'))
    keyring.put(NAME, Buffer.from('second'))
    t.is(keyring.read(NAME)?.toString(), 'second')
})

for (const { name, fails, act } of [
    { name: 'searching', fails: { search: 1 }, act: 'read' },
    { name: 'reading', fails: { read: 13 }, act: 'read' },
    { name: 'adding', fails: { add: 122 }, act: 'put' },
    { name: 'linking', fails: { link: 13 }, act: 'put' },
] as const)
    test(`refused: ${name}`, (t) => {
        const { keyring, keys } = kernel(fails)
        keys.set(100, { name: NAME, bytes: Buffer.from('x') })
        const run = {
            read: () => keyring.read(NAME),
            put: () => keyring.put(NAME, Buffer.from('x')),
        }
        t.throws(() => run[act](), { code: 'ERR_KEYRING', message: /errno \d+/ })
    })

for (const errno of [126, 127, 128])
    test(`not there, or not any more: errno ${errno}`, (t) => t.is(kernel({ search: errno }).keyring.read(NAME), null))

const real = keyring()

/** keyctl(KEYCTL_UNLINK) of our key in the keyring of this user: the program takes none away. */
function forget(): void {
    const keyctl = boundCall('syscall', ['long', 'long', 'long', 'long'], 'long')
    keyctl(process.arch === 'arm64' ? 219 : 250, 9, keyCalls().search(-4, NAME), -4)
}

function works(): boolean {
    try {
        real.put(NAME, Buffer.from('x'))
        forget()
        return true
    } catch {
        return false
    }
}

const here = works() ? test : test.skip

here('this kernel', (t) => {
    t.teardown(forget)
    t.is(real.read(NAME), null)
    const bytes = Buffer.from(Array.from({ length: 700 }, (_, at) => at & 0xff))
    real.put(NAME, bytes)
    t.deepEqual(Buffer.from(real.read(NAME) ?? []), bytes)
    real.put(NAME, Buffer.from('another'))
    t.is(real.read(NAME)?.toString(), 'another')
    forget()
    t.is(real.read(NAME), null)
})
