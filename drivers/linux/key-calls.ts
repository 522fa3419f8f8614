// add_key(2) and keyctl(2), for keys of the type `user`. The C library has no function for either: they are in one of their
// own (libkeyutils), which need not be there. Numbers are those of Linux on x64 and arm64.
// SPDX-License-Identifier: Apache-2.0

import { boundCall } from './libc.ts'

/** Each gives what the call gives, or the errno as a negative number, as the kernel itself does. */
export interface KeyCalls {
    /** The id of the key that has the name now. */
    add(name: string, payload: Uint8Array, keyring: number): number
    link(id: number, keyring: number): number
    /** The id of the key that has the name. */
    search(keyring: number, name: string): number
    /** How many bytes the key has: as many as there is room for were written. */
    read(id: number, into: Buffer): number
}

const NUMBERS = { x64: { addKey: 248, keyctl: 250 }, arm64: { addKey: 217, keyctl: 219 } } as const

/** <linux/keyctl.h> */
const LINK = 8
const SEARCH = 10
const READ = 11

const TYPE = Buffer.from('user\0')

let bound: KeyCalls | undefined

/** @throws AttestError ERR_DEVICE_IO where the native module cannot be loaded */
export function keyCalls(): KeyCalls {
    bound ??= bind()
    return bound
}

function bind(): KeyCalls {
    // A word for each register; variadic in C, and the same in both ABIs, as with ioctl.
    const syscall = (...words: string[]) => boundCall('syscall', ['long', ...words], 'long')
    const add = syscall('void *', 'void *', 'void *', 'ulong', 'long')
    const link = syscall('long', 'long', 'long')
    const search = syscall('long', 'long', 'void *', 'void *', 'long')
    const read = syscall('long', 'long', 'void *', 'ulong')
    const { addKey, keyctl } = NUMBERS[process.arch as keyof typeof NUMBERS]
    return {
        add: (name, payload, keyring) => add(addKey, TYPE, text(name), payload, payload.length, keyring),
        link: (id, keyring) => link(keyctl, LINK, id, keyring),
        search: (keyring, name) => search(keyctl, SEARCH, keyring, TYPE, text(name), 0),
        read: (id, into) => read(keyctl, READ, id, into, into.length),
    }
}

const text = (value: string): Buffer => Buffer.from(`${value}\0`)
