// One of the injected secrets by its name, and into a file.
// SPDX-License-Identifier: Apache-2.0

import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { createFile } from '#core/files.ts'
import { SECRET_ALIASES, secretGuid } from '#core/secret-names.ts'
import type { LaunchSecrets } from '#drivers/driver.ts'
import { libc } from '#drivers/linux/libc.ts'
import { GUEST_OPTIONS } from '../guest.ts'
import { withLaunchSecrets } from '../injected.ts'
import { requireNewFile } from '../options/new-file.ts'
import { readConfig } from '../settings.ts'

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
    const guid = readGuid(String(name))
    requireNewFile(out)
    libc().forbidCoreDumps()
    await withLaunchSecrets({ tee }, readConfig(), (secrets) => {
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

/** A GUID, or the name of one, as the kernel names its file. @throws AttestError ERR_USAGE */
export function readGuid(text: string, option?: string): string {
    const guid = secretGuid(text)
    if (guid !== null) return guid
    const where = option === undefined ? '' : `${option}: `
    throw coreError(
        'ERR_USAGE',
        `${where}expected a GUID or ${Object.keys(SECRET_ALIASES)}, got ${JSON.stringify(text)}`,
    )
}
