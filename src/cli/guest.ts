// The guest that this machine is, opened for a command, and the options that say how.
// SPDX-License-Identifier: Apache-2.0

import { EMULATED } from '#core/role.ts'
import { detect } from '#drivers/detect.ts'
import type { Guest, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import { PLUGINS } from '#plugins.ts'
import { readConfig } from './settings.ts'
import { note } from './term.ts'

export const GUEST_OPTIONS = {
    tee: { type: 'string', choices: PLUGINS.map(({ id }) => id), describe: 'the technology that it must be' },
    via: {
        type: 'string',
        choices: ['configfs', 'ioctl'],
        describe: 'the kernel interface to use; the first that answers unless told',
    },
} as const

export interface GuestArgs {
    readonly tee?: string | undefined
    readonly via?: string | undefined
}

/** @throws AttestError what the driver says; ERR_NO_TEE where no driver takes this machine for its own */
export async function openGuest({ tee, via }: GuestArgs): Promise<Guest> {
    const guest = await findGuest({ tee, via })
    if (guest) return guest
    const wanted = PLUGINS.filter(({ id }) => tee === undefined || id === tee).map(({ title }) => title)
    throw driverError('ERR_NO_TEE', `this machine is no guest of ${wanted.join(' or ')}`, {
        hint: '`guest-attest doctor` says what was looked for; `guest-attest emulate --tee snp -- COMMAND` rehearses one',
    })
}

/** The same, with null where no driver takes this machine for its own. */
export async function findGuest({ tee, via }: GuestArgs): Promise<Guest | null> {
    const drivers = await Promise.all(
        PLUGINS.filter(({ id }) => tee === undefined || id === tee).map((plugin) => plugin.driver()),
    )
    const doors = linuxDoors(readConfig().get(DRIVERS_CONFIG))
    const guest = await detect(drivers, doors, via === undefined ? {} : { via: via as Via })
    if (guest && EMULATED) note('the device is emulated: its reports prove nothing')
    return guest
}
