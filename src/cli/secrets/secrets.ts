// The secrets of the guest that this machine is, and one of them into a file.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { isGuid } from '#core/guid.ts'
import type { LaunchSecrets } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import { libc } from '#drivers/linux/libc.ts'
import { pluginOf, sevOwner } from '#plugins.ts'
import { findGuest, type GuestArgs, openGuest } from '../find-guest.ts'
import { GUEST_OPTIONS } from '../guest.ts'
import { requireNewFile } from '../options/new-file.ts'
import { readConfig } from '../settings.ts'

/** @throws AttestError ERR_NO_TEE where there is no guest, or none with secrets; ERR_SECRETS_* */
export async function withLaunchSecrets<T>(args: GuestArgs, use: (secrets: LaunchSecrets) => T): Promise<T> {
    const config = readConfig()
    const found = await findGuest(args, config)
    // Who asks for secrets is told what of them is missing.
    if (!found) linuxDoors(config.get(DRIVERS_CONFIG)).efiSecrets.requireShown()
    const guest = found ?? (await openGuest(args, config))
    try {
        if (!guest.secrets)
            throw driverError('ERR_NO_TEE', `a guest of ${pluginOf(guest.tee).title} has no injected secrets`, {
                hint: 'it proves itself instead: guest-attest get-resource',
            })
        return use(guest.secrets)
    } finally {
        guest.close()
    }
}

export const POSITIONALS = { guid: 'the GUID of the secret, or luks-key: the passphrase of a disk' } as const

export const OPTIONS = {
    tee: GUEST_OPTIONS.tee,
    out: { type: 'string', demandOption: true, describe: 'write its bytes to this new file (mode 0600)' },
} as const

/** Writes one secret to a file; `after` is what becomes of it then. */
export async function writeSecret(
    { tee, out, guid: name }: { tee?: string | undefined; out: string; guid?: unknown },
    after: (secrets: LaunchSecrets, guid: string) => void,
): Promise<number> {
    const guid = await readGuid(String(name))
    requireNewFile(out)
    libc().forbidCoreDumps()
    await withLaunchSecrets({ tee }, (secrets) => {
        const bytes = secrets.read(guid)
        try {
            createFile(out, bytes)
        } finally {
            wipe(bytes)
        }
        after(secrets, guid)
    })
    return 0
}

async function readGuid(text: string): Promise<string> {
    const { SECRET_ALIASES } = await sevOwner()
    const guid = Object.hasOwn(SECRET_ALIASES, text) ? SECRET_ALIASES[text] : text
    if (guid !== undefined && isGuid(guid)) return guid.toLowerCase()
    throw coreError('ERR_USAGE', `expected a GUID or ${Object.keys(SECRET_ALIASES)}, got ${JSON.stringify(text)}`)
}
