// The kernel's keyring of this user (keyrings(7), user-keyring(7)): what outlives a process, and the switch from an initrd
// to the running system, without standing in a file. Root's lasts as long as the kernel runs.
// SPDX-License-Identifier: Apache-2.0

import { constants } from 'node:os'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { MAX_SECRET_AREA } from '#core/sizes.ts'
import { driverError } from '../errors.ts'
import { type KeyCalls, keyCalls } from './key-calls.ts'

export interface Keyring {
    /** Null: there is none of that name. The caller wipes it. @throws AttestError ERR_KEYRING */
    read(name: string): Secret | null
    /** Puts it there, or in the place of what had the name. @throws AttestError ERR_KEYRING */
    put(name: string, bytes: Uint8Array): void
}

/** <linux/keyctl.h> */
const PROCESS_KEYRING = -2
const USER_KEYRING = -4

export function keyring(calls: () => KeyCalls = keyCalls): Keyring {
    // A service of systemd has a session of its own, without the keyring of its user: whatever is in there it may find, but
    // not use. Linked to the process, all of it is the process's own.
    const attach = (): KeyCalls => {
        const own = calls()
        told(own.link(USER_KEYRING, PROCESS_KEYRING), 'linking it')
        return own
    }
    const find = (own: KeyCalls, name: string): number | null => {
        const id = own.search(USER_KEYRING, name)
        return ABSENT.has(-id) ? null : told(id, 'searching')
    }
    return {
        read(name) {
            const own = attach()
            const id = find(own, name)
            if (id === null) return null
            const bytes = Buffer.alloc(MAX_SECRET_AREA)
            try {
                const size = told(own.read(id, bytes), 'reading')
                if (size > bytes.length) throw failed('reading', constants.errno.EFBIG)
                return secret(bytes.subarray(0, size))
            } finally {
                wipe(bytes)
            }
        },
        put: (name, bytes) => void told(attach().add(name, bytes, USER_KEYRING), 'adding a key'),
    }
}

/** ENOKEY, EKEYEXPIRED, EKEYREVOKED: Node knows no names for them. */
const ABSENT: ReadonlySet<number> = new Set([126, 127, 128])

function told(result: number, what: string): number {
    if (result < 0) throw failed(what, -result)
    return result
}

const failed = (what: string, errno: number) =>
    driverError('ERR_KEYRING', `the keyring of this user: ${what} failed with errno ${errno}`, {
        hint: NO_KEYS.has(errno) ? 'the kernel has no keyrings, or a container forbids them' : undefined,
    })

const NO_KEYS: ReadonlySet<number> = new Set([constants.errno.ENOSYS, constants.errno.EPERM])
