// What was injected into this guest, for who opens a disk or asks for it: read, used, its copy wiped. In an initrd it stays
// where it is, for another volume or another try; it is noted down for whoever wipes it before the root is switched.
// SPDX-License-Identifier: Apache-2.0

import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Injected } from '#clevis/sev-pin.ts'
import { type Secret, wipe } from '#core/bytes.ts'
import type { Config } from '#core/config.ts'
import { makeFolder } from '#core/files.ts'
import { ROLE, RUN_FOLDER } from '#core/role.ts'
import type { LaunchSecrets } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import { LAUNCHED, pluginOf } from '#plugins.ts'
import { findGuest, type GuestArgs, openGuest } from './find-guest.ts'

/** GUIDs that were read in this boot, a line each; in the folder of the boot. */
export const READ_SECRETS = 'secrets'

/**
 * The secrets of the guest that this machine is. What the memory of a guest of another technology shows as injected is
 * nobody's word: no owner judged its launch before it came, and the host may have written it.
 * @throws AttestError ERR_NO_TEE where there is no guest, or none with secrets; ERR_SECRETS_*
 */
export async function withLaunchSecrets<T>(
    args: GuestArgs,
    config: Config,
    use: (secrets: LaunchSecrets) => T,
): Promise<T> {
    const found = await findGuest(args, config)
    // Who asks for secrets is told what of them is missing.
    if (!found) linuxDoors(config.get(DRIVERS_CONFIG)).efiSecrets.requireShown()
    const guest = found ?? (await openGuest(args, config))
    try {
        if (guest.secrets) return use(guest.secrets)
        throw driverError('ERR_NO_TEE', `a guest of ${pluginOf(guest.tee).title} has no injected secrets`, {
            hint: 'it proves itself instead: guest-attest get-resource',
        })
    } finally {
        guest.close()
    }
}

/** The secrets of this guest, for a use. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING, ERR_NO_TEE */
export function injectedSecrets(config: Config): Injected {
    return async (guid, use) => {
        const bytes = await readInjected(config, guid)
        try {
            return use(bytes)
        } finally {
            wipe(bytes)
        }
    }
}

/** One of them, which the caller wipes. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING, ERR_NO_TEE */
export async function readInjected(config: Config, guid: string): Promise<Secret> {
    const bytes = await withLaunchSecrets({ tee: LAUNCHED.id }, config, (secrets) => secrets.read(guid))
    if (ROLE === 'initrd') noteRead(guid)
    return bytes
}

function noteRead(guid: string, folder = RUN_FOLDER): void {
    makeFolder(folder, 0o700)
    appendFileSync(join(folder, READ_SECRETS), `${guid}\n`, { mode: 0o600 })
}
