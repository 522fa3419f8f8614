// What was injected into this guest, for who opens a disk or asks for it: read, used, its copy wiped. In an initrd it stays
// where it is, for another volume or another try; what has opened something is noted down for whoever wipes
// it before the root is switched.
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

/** GUIDs that opened something in this boot, a line each; in the folder of the boot. */
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
    if (!found) (await linuxDoors(config.get(DRIVERS_CONFIG)).secrets()).efiSecrets.requireShown()
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

/** Where they come from, and who is told of those that opened something. */
export interface InjectedDoors {
    read(guid: string): Promise<Secret>
    note(guid: string): void
}

/** The secrets of this guest, for a use. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING, ERR_NO_TEE */
export const injectedSecrets = (config: Config): Injected =>
    injectedFrom({
        read: (guid) => readInjected(config, guid),
        note: ROLE === 'initrd' ? noteRead : () => undefined,
    })

/** The same from elsewhere. */
export function injectedFrom({ read, note }: InjectedDoors): Injected {
    return async (guid, use) => {
        const bytes = await read(guid)
        try {
            const result = await use(bytes)
            // Not before: which secret opens a disk its header says, and the host can write that.
            note(guid)
            return result
        } finally {
            wipe(bytes)
        }
    }
}

/** One of them, which the caller wipes. @throws AttestError ERR_SECRETS_*, ERR_SECRET_MISSING, ERR_NO_TEE */
export const readInjected = (config: Config, guid: string): Promise<Secret> =>
    withLaunchSecrets({ tee: LAUNCHED.id }, config, (secrets) => secrets.read(guid))

function noteRead(guid: string): void {
    makeFolder(RUN_FOLDER, 0o700)
    appendFileSync(join(RUN_FOLDER, READ_SECRETS), `${guid}\n`, { mode: 0o600 })
}
