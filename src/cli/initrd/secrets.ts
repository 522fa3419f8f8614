// The end of injected secrets in an initrd: every volume that it opens is open, or its time is over. What opened them is
// wiped from the guest's memory, unless a volume that the running system opens needs it still.
// SPDX-License-Identifier: Apache-2.0

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { AttestError, coreError, messageOf } from '#core/errors.ts'
import { isGuid } from '#core/guid.ts'
import { CONFIG_FOLDER, RUN_FOLDER } from '#core/role.ts'
import type { Guest, LaunchSecrets } from '#drivers/driver.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import { LAUNCHED } from '#plugins.ts'
import { bootStatus, SECRETS_SUBJECT, type Status } from '#unlock/status.ts'
import { type BootVolume, isOpenedInInitrd, opensBySecret, readVolumes } from '#unlock/volumes.ts'
import { findGuest } from '../find-guest.ts'
import { READ_SECRETS } from '../injected.ts'
import { readConfig } from '../settings.ts'

/** `wipe-secrets`: 0 where none is left that should not be. */
export async function wipeSecrets(args: readonly string[]): Promise<number> {
    if (args.length > 0) throw coreError('ERR_USAGE', `wipe-secrets: unexpected ${args.join(' ')}`)
    const config = readConfig()
    const { efiSecrets } = await linuxDoors(config.get(DRIVERS_CONFIG)).secrets()
    const isOpen = (name: string) => existsSync(`/dev/mapper/${name}`)
    const status = bootStatus(SECRETS_SUBJECT)
    // What the guest proves itself with comes first: nothing that is wiped can be it any more.
    const exit = await handOver(() => findGuest({ tee: LAUNCHED.id }, config), status)
    return Math.max(exit, wipeRead(readVolumes(CONFIG_FOLDER), readSecrets(), efiSecrets, isOpen, status))
}

/**
 * What the guest proves itself with goes to the running system, and is wiped too. What is not handed over stays where it
 * is: the running system finds it there.
 * @returns 0, or 1 where that failed
 */
export async function handOver(
    find: () => Promise<Pick<Guest, 'handOver' | 'close'> | null>,
    status: Status,
): Promise<number> {
    let guest: Awaited<ReturnType<typeof find>> = null
    try {
        guest = await find()
        const guid = guest?.handOver?.()
        if (guid)
            status.say(
                'wiped',
                `${guid}, the key of this launch, is sealed in the kernel’s keyring, and wiped from memory`,
            )
        return 0
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        if (guest === null && SHOWS_NONE.has(error.code)) return 0
        const what = guest === null ? 'may be in memory still' : 'could not be handed over'
        status.say('failed', `the key of this launch ${what}: ${messageOf(error)}`)
        return 1
    } finally {
        guest?.close()
    }
}

/** Of a guest whose kernel shows none: no program of this boot has read a key, and there is none to hand over. */
const SHOWS_NONE: ReadonlySet<string> = new Set([
    'ERR_SECRETS_NONE',
    'ERR_SECRETS_KERNEL',
    'ERR_SECRETS_MODULE',
    'ERR_SECRETS_SECURITYFS',
])

/**
 * Wipes what the table names and what has opened something.
 * @returns how the process exits: 0, or 1 where one could not be wiped
 */
export function wipeRead(
    volumes: readonly BootVolume[],
    read: readonly string[],
    secrets: Pick<LaunchSecrets, 'wipe'>,
    isOpen: (name: string) => boolean,
    status: Status,
): number {
    const bound = volumes.filter(opensBySecret)
    let exit = 0
    for (const guid of new Set([...bound.map(({ secret }) => secret), ...read])) {
        const later = bound.find((one) => one.secret === guid && !isOpenedInInitrd(one) && !isOpen(one.name))
        if (later) {
            status.say(
                'waiting',
                `${guid} is left for ${later.name}: guest-attest-initrd wipe-secrets, when that is open`,
            )
            continue
        }
        try {
            secrets.wipe(guid)
            status.say('wiped', `${guid} has been wiped from memory`)
        } catch (error) {
            if (!(error instanceof AttestError)) throw error
            // Wiped already, or never injected.
            if (error.code === 'ERR_SECRET_MISSING') continue
            status.say('failed', `${guid} could not be wiped: ${messageOf(error)}`)
            exit = 1
        }
    }
    return exit
}

/** What the programs of this boot have noted down. */
function readSecrets(file = join(RUN_FOLDER, READ_SECRETS)): string[] {
    if (!existsSync(file)) return []
    return readFileSync(file, 'latin1').split('\n').filter(isGuid)
}
