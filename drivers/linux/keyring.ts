// The kernel's keyring of this user (keyrings(7), user-keyring(7)): what outlives a process, and the switch from an initrd
// to the running system, without standing in a file. Root's lasts as long as the kernel runs.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { driverError } from '../errors.ts'
import type { CallResult } from './libc.ts'

export interface Keyring {
    /** Null: there is none of that name. The caller wipes it. @throws AttestError ERR_KEYRING */
    read(name: string): Secret | null
    /** Puts it there, or in the place of what had the name. @throws AttestError ERR_KEYRING */
    put(name: string, bytes: Uint8Array): void
    /** Takes it away, if it is there. @throws AttestError ERR_KEYRING */
    remove(name: string): void
}

/** The two system calls. Names and types are texts that end with a zero byte. */
export interface KeyCalls {
    addKey(type: Buffer, name: Buffer, payload: Uint8Array, keyring: number): CallResult
    keyctl(operation: number, id: number, second: Buffer | number, third: Buffer | number, fourth: number): CallResult
}

/** <linux/keyctl.h> */
const PROCESS_KEYRING = -2
const USER_KEYRING = -4
const LINK = 8
const UNLINK = 9
const SEARCH = 10
const READ = 11

/** More than is ever kept here. */
const MAX_BYTES = 0x4000

const TYPE = Buffer.from('user\0')

export function keyring(calls: () => KeyCalls): Keyring {
    // A service of systemd has a session of its own, without the keyring of its user: whatever is in there it may find, but
    // not use. Linked to the process, all of it is the process's own.
    const attach = (): KeyCalls => {
        const own = calls()
        const { result, errno } = own.keyctl(LINK, USER_KEYRING, PROCESS_KEYRING, 0, 0)
        if (result < 0) throw failed('linking it', errno)
        return own
    }
    const find = ({ keyctl }: KeyCalls, name: string): number | null => {
        const { result, errno } = keyctl(SEARCH, USER_KEYRING, TYPE, text(name), 0)
        if (result >= 0) return result
        if (ABSENT.has(errno)) return null
        throw failed('searching', errno)
    }
    return {
        read(name) {
            const own = attach()
            const id = find(own, name)
            if (id === null) return null
            const bytes = Buffer.alloc(MAX_BYTES)
            try {
                const { result, errno } = own.keyctl(READ, id, bytes, bytes.length, 0)
                if (result < 0) throw failed('reading', errno)
                if (result > bytes.length) throw failed('reading', constants.errno.EFBIG)
                return secret(bytes.subarray(0, result))
            } finally {
                wipe(bytes)
            }
        },
        put(name, bytes) {
            const { result, errno } = attach().addKey(TYPE, text(name), bytes, USER_KEYRING)
            if (result < 0) throw failed('adding a key', errno)
        },
        remove(name) {
            const own = attach()
            const id = find(own, name)
            if (id === null) return
            const { result, errno } = own.keyctl(UNLINK, id, USER_KEYRING, 0, 0)
            if (result < 0) throw failed('removing a key', errno)
        },
    }
}

/** ENOKEY, EKEYEXPIRED, EKEYREVOKED: Node knows no names for them. */
const ABSENT: ReadonlySet<number> = new Set([126, 127, 128])

const text = (value: string): Buffer => Buffer.from(`${value}\0`)

const failed = (what: string, errno: number) =>
    driverError('ERR_KEYRING', `the keyring of this user: ${what} failed with errno ${errno}`, {
        hint: NO_KEYS.has(errno) ? 'the kernel has no keyrings, or a container forbids them' : undefined,
    })

const NO_KEYS: ReadonlySet<number> = new Set([constants.errno.ENOSYS, constants.errno.EPERM])
