// An injected secret for who opens a disk: read, used, its copy wiped. In an initrd it stays where it is, for another
// volume or another try; it is noted down for whoever wipes it before the root is switched.
// SPDX-License-Identifier: Apache-2.0

import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Injected } from '#clevis/sev-pin.ts'
import { type Secret, wipe } from '#core/bytes.ts'
import type { Config } from '#core/config.ts'
import { makeFolder } from '#core/files.ts'
import { ROLE, RUN_FOLDER } from '#core/role.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'

/** GUIDs that were read in this boot, a line each; in the folder of the boot. */
export const READ_SECRETS = 'secrets'

/** The secrets of this guest, for a use. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING */
export function injectedSecrets(config: Config): Injected {
    return async (guid, use) => {
        const bytes = readInjected(config, guid)
        try {
            return use(bytes)
        } finally {
            wipe(bytes)
        }
    }
}

/** One of them, which the caller wipes. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING */
export function readInjected(config: Config, guid: string): Secret {
    const bytes = linuxDoors(config.get(DRIVERS_CONFIG)).efiSecrets.read(guid)
    if (ROLE === 'initrd') noteRead(guid)
    return bytes
}

function noteRead(guid: string, folder = RUN_FOLDER): void {
    makeFolder(folder, 0o700)
    appendFileSync(join(folder, READ_SECRETS), `${guid}\n`, { mode: 0o600 })
}
