// What is handed over to the running system: sealed in the keyring, its key in a file; each is worth nothing alone.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { secret } from '#core/bytes.ts'
import { driverError } from '#drivers/errors.ts'
import { sealedKeyring } from '#drivers/linux/sealed-keyring.ts'

const NAME = 'guest-attest:2e2f6c54-6678-417a-a857-1c3d727d9c0f'
const FILE = 'guest-attest-2e2f6c54-6678-417a-a857-1c3d727d9c0f.key'
const TEXT = Buffer.from('{"version":1,"key":"that of a launch"}')

function guest(folder: string, keys = new Map<string, Buffer>()) {
    const keyring = {
        read: (name: string) => {
            const bytes = keys.get(name)
            return bytes ? secret(Buffer.from(bytes)) : null
        },
        put: (name: string, bytes: Uint8Array) => void keys.set(name, Buffer.from(bytes)),
    }
    return { keys, keyring, sealed: sealedKeyring(keyring, folder), file: join(folder, FILE) }
}

function newFolder(t: { teardown(end: () => void): void }): string {
    const folder = mkdtempSync(join(tmpdir(), 'sealed-keyring-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    return folder
}

test('handed over, read as often as is wanted, handed over anew', (t) => {
    const { sealed, keys, file } = guest(join(newFolder(t), 'run'))
    t.false(sealed.has(NAME))
    t.is(sealed.read(NAME), null)
    sealed.put(NAME, TEXT)
    t.true(sealed.has(NAME))
    for (let i = 0; i < 2; i++) t.deepEqual(Buffer.from(sealed.read(NAME) ?? []), TEXT)
    t.false(keys.get(NAME)?.includes('launch'), 'what others can read says nothing')
    t.is(statSync(file).mode & 0o777, 0o600)
    const before = readFileSync(file)
    sealed.put(NAME, Buffer.from('another'))
    t.is(sealed.read(NAME)?.toString(), 'another')
    t.notDeepEqual(readFileSync(file), before, 'a key of its own each time')
})

test('what stands in the keyring without its file was never handed over', (t) => {
    const { sealed, keys } = guest(newFolder(t))
    keys.set(NAME, Buffer.from('{"version":1,"url":"https://evil.example"}'))
    t.false(sealed.has(NAME))
    t.is(sealed.read(NAME), null)
})

interface Guest extends ReturnType<typeof guest> {}

for (const { name, change, code = 'ERR_KEYRING_ALTERED' } of [
    { name: 'gone from the keyring', change: ({ keys }: Guest) => keys.clear() },
    { name: 'plain bytes in its place', change: ({ keys }: Guest) => keys.set(NAME, Buffer.from(TEXT)) },
    { name: 'nothing in its place', change: ({ keys }: Guest) => keys.set(NAME, Buffer.alloc(0)) },
    { name: 'a byte changed', change: ({ keys }: Guest) => keys.get(NAME)?.writeUInt8(0, 20) },
    { name: 'its tag cut', change: ({ keys }: Guest) => keys.set(NAME, keys.get(NAME)?.subarray(0, -1) as Buffer) },
    {
        name: 'what was handed over before',
        change({ keys, sealed }: Guest) {
            const before = Buffer.from(keys.get(NAME) as Buffer)
            sealed.put(NAME, TEXT)
            keys.set(NAME, before)
        },
    },
    {
        name: 'what has another name',
        change({ keys, sealed, file }: Guest) {
            sealed.put('guest-attest:other', TEXT)
            writeFileSync(file, readFileSync(file.replace(FILE, 'guest-attest-other.key')))
            keys.set(NAME, keys.get('guest-attest:other') as Buffer)
        },
    },
    { name: 'a key of another size', change: ({ file }: Guest) => writeFileSync(file, Buffer.alloc(31)) },
    { name: 'another key', change: ({ file }: Guest) => writeFileSync(file, Buffer.alloc(32)) },
    { name: 'a longer one', change: ({ file }: Guest) => writeFileSync(file, Buffer.alloc(33)), code: 'ERR_LENGTH' },
    {
        name: 'a file that others can write',
        change: ({ file }: Guest) => chmodSync(file, 0o606),
        code: 'ERR_UNTRUSTED_FILE',
    },
    {
        name: 'a link to another file',
        change({ file }: Guest) {
            rmSync(file)
            symlinkSync('/nowhere', file)
        },
        code: 'ERR_UNTRUSTED_FILE',
    },
])
    test(`an error, never nothing: ${name}`, (t) => {
        const own = guest(newFolder(t))
        own.sealed.put(NAME, TEXT)
        change(own)
        t.true(own.sealed.has(NAME))
        t.throws(() => own.sealed.read(NAME), { code })
    })

test('a keyring that cannot be asked', (t) => {
    const folder = newFolder(t)
    const { keyring, sealed } = guest(folder)
    sealed.put(NAME, TEXT)
    const refuse = () => {
        throw driverError('ERR_KEYRING', 'no keyrings')
    }
    const closed = sealedKeyring({ ...keyring, read: refuse }, folder)
    t.true(closed.has(NAME))
    t.throws(() => closed.read(NAME), { code: 'ERR_KEYRING' })
})

test('what the keyring does not take leaves no file', (t) => {
    const { keyring, file } = guest(newFolder(t))
    const refuse = () => {
        throw driverError('ERR_KEYRING', 'no keyrings')
    }
    const closed = sealedKeyring({ ...keyring, put: refuse }, join(file, '..'))
    t.throws(() => closed.put(NAME, TEXT), { code: 'ERR_KEYRING' })
    t.false(existsSync(file))
    t.false(closed.has(NAME))
})
