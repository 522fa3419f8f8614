// `luks enroll --secret`: a disk that opens with what its owner injects at each launch. No broker, no key, no binding: what
// is injected opens it already, which is tried before anything is written and, as the next boot will, at the end.
// SPDX-License-Identifier: Apache-2.0

import { decryptSev } from '#clevis/sev-pin.ts'
import { wipe } from '#core/bytes.ts'
import { coreError } from '#core/errors.ts'
import { CONFIG_FOLDER } from '#core/role.ts'
import { libc } from '#drivers/linux/libc.ts'
import { LAUNCHED } from '#plugins.ts'
import { passphraseOf } from '#unlock/injected.ts'
import { type Passphrase, tryInjected } from '#unlock/open-injected.ts'
import { isOpenedInInitrd, opensBySecret, requireVolume, type SecretVolume } from '#unlock/volumes.ts'
import { injectedSecrets, readInjected } from '../injected.ts'
import { readConfig } from '../settings.ts'
import { note } from '../term.ts'
import { conclude, type Machine, reasonsOf, rebuildInitrd, requirePlace, writeTables } from './enroll-machine.ts'
import { sealedWith } from './seal.ts'

/** @returns how the program exits: 0 where the next boot opens the volume */
export async function enrollSecret(machine: Machine & { readonly volume: SecretVolume }): Promise<0 | 1> {
    const { device, volume } = machine
    libc().forbidCoreDumps()
    requirePlace(machine)
    await tryInjected(volume, device, passphraseFor(volume, device))
    note(`the injected secret ${volume.secret} opens ${device}; it is left where it is`)
    writeTables(machine)
    const reasons = [...(await rebuildInitrd(machine)), ...(await reasonsOf(() => rehearse(volume.name, device)))]
    if (!isOpenedInInitrd(volume))
        note('the secret stays in memory until the volume is open, and then: guest-attest-initrd wipe-secrets')
    return conclude(machine, LAUNCHED.id, reasons)
}

/** What the table says now, up to the passphrase. */
async function rehearse(name: string, device: string): Promise<void> {
    const volume = requireVolume(CONFIG_FOLDER, name)
    if (!opensBySecret(volume)) throw new TypeError(`${name} was written otherwise`)
    await tryInjected(volume, device, passphraseFor(volume, device))
    note(`tried as at boot: the header is sound, and the secret of ${name} opens it`)
}

/** How its front end comes to the passphrase: the secret itself, or what clevis unseals with it. */
export function passphraseFor({ secret: guid, frontEnd }: SecretVolume, device: string): Passphrase {
    const config = readConfig()
    if (frontEnd === 'clevis')
        return async (copy) => decryptSev(requireSealed(guid, copy, device), injectedSecrets(config))
    return async () => {
        const injected = await readInjected(config, guid)
        try {
            return passphraseOf(guid, injected, note)
        } catch (error) {
            wipe(injected)
            throw error
        }
    }
}

function requireSealed(guid: string, copy: Buffer, device: string): string {
    const jwe = sealedWith(guid, copy)
    if (jwe !== null) return jwe
    throw coreError(
        'ERR_USAGE',
        `--front-end clevis: ${device} is not bound to the secret ${guid} by the pin of clevis`,
        {
            hint: `clevis luks bind -d ${device} sev '{"guid": "${guid}"}' binds it; then enroll it`,
        },
    )
}
