// Denials are final for this boot: loops that retry an unlock for ever must not ask a broker for ever. Each is a file
// under /run that a restart takes away.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { RUN_FOLDER } from '#core/role.ts'
import { unlockError } from './errors.ts'

export interface Denials {
    /** @throws AttestError ERR_UNLOCK_DENIED_EARLIER */
    refuseIfDenied(server: string, path: string): void
    remember(server: string, path: string, reason: string): void
}

export function bootDenials(folder = join(RUN_FOLDER, 'denied')): Denials {
    const fileOf = (server: string, path: string): string =>
        join(folder, createHash('sha256').update(`${server}\0${path}`).digest('hex').slice(0, 32))
    return {
        refuseIfDenied(server, path) {
            const file = fileOf(server, path)
            let reason: string
            try {
                reason = readFileSync(file, 'utf8').slice(0, 1000)
            } catch {
                return
            }
            throw unlockError('ERR_UNLOCK_DENIED_EARLIER', `denied earlier in this boot: ${reason}`, {
                hint: `restart the guest, or remove ${file}, to ask again`,
            })
        },
        remember(server, path, reason) {
            try {
                mkdirSync(folder, { recursive: true, mode: 0o700 })
                writeFileSync(fileOf(server, path), reason, { mode: 0o600 })
            } catch {
                // Without /run the broker is asked again: that costs it a handshake, and opens nothing.
            }
        },
    }
}
