// What is handed over to the running system: sealed in the kernel's keyring, with the key to it in a file of root's in
// /run, which outlives the switch of root as well. Each is worth nothing alone. A keyring belongs to every process of this
// user in the user namespace, a container's too, which can read what is in it and put something else there; the file is
// out of its reach. The file could get into swap, what is in the keyring never does.
// SPDX-License-Identifier: Apache-2.0

import { randomBytes } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { joined, open, parted, seal } from '#core/aead.ts'
import { type Secret, secret, wipe } from '#core/bytes.ts'
import { errnoOf } from '#core/errors.ts'
import { makeFolder, readTrustedFile, writeFileAtomic } from '#core/files.ts'
import { driverError } from '../errors.ts'
import type { Keyring } from './keyring.ts'

export interface SealedKeyring {
    /** Whether something was handed over by this name, as the file says: what became of it, `read` says. */
    has(name: string): boolean
    /**
     * Null: nothing was handed over. The caller wipes it.
     * @throws AttestError ERR_KEYRING_ALTERED where it is gone, or is not what was handed over; ERR_KEYRING,
     * ERR_UNTRUSTED_FILE, ERR_FILE
     */
    read(name: string): Secret | null
    /** In the place of what had the name. @throws AttestError ERR_KEYRING, ERR_FILE */
    put(name: string, bytes: Uint8Array): void
}

const KEY_SIZE = 32

export function sealedKeyring(keyring: Pick<Keyring, 'read' | 'put'>, folder: string): SealedKeyring {
    const fileOf = (name: string) => join(folder, `${name.replace(':', '-')}.key`)
    return {
        has(name) {
            try {
                lstatSync(fileOf(name))
                return true
            } catch (error) {
                // Who may not look there has nothing to prove itself with: whom it trusts does not matter.
                return !ABSENT.has(errnoOf(error))
            }
        },
        read(name) {
            const file = fileOf(name)
            const key = readTrustedFile(file, KEY_SIZE)
            if (!key) return null
            const sealed = keyring.read(name)
            try {
                if (!sealed) throw altered(`${name} was handed over, and is not in the keyring any more`)
                if (key.length !== KEY_SIZE) throw altered(`${file} is no key of ${KEY_SIZE} bytes`)
                return opened(key, sealed, name)
            } finally {
                wipe(key, sealed ?? undefined)
            }
        },
        put(name, bytes) {
            const key = secret(randomBytes(KEY_SIZE))
            try {
                keyring.put(name, joined(seal(key, bytes, Buffer.from(name))))
                // Last: where it stands, everything does.
                makeFolder(folder, 0o700)
                writeFileAtomic(fileOf(name), key)
            } finally {
                wipe(key)
            }
        },
    }
}

const ABSENT: ReadonlySet<string | undefined> = new Set(['ENOENT', 'EACCES'])

function opened(key: Buffer, sealed: Secret, name: string): Secret {
    try {
        return open(key, parted(sealed), Buffer.from(name))
    } catch (cause) {
        throw altered(`what the keyring has as ${name} is not what was handed over`, cause)
    }
}

const altered = (message: string, cause?: unknown) =>
    driverError('ERR_KEYRING_ALTERED', message, {
        cause,
        hint: 'a process of root’s did that, or one of a container without a user namespace of its own: launch the guest again',
    })
