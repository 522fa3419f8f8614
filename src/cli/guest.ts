// The guest that this machine is, opened for a command, and the options that say how.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import { EMULATED } from '#core/role.ts'
import { detect } from '#drivers/detect.ts'
import { type Guest, VIAS, type Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { PLUGINS } from '#plugins.ts'
import { readConfig } from './settings.ts'
import { note } from './term.ts'

export const GUEST_OPTIONS = {
    tee: { type: 'string', choices: PLUGINS.map(({ id }) => id), describe: 'the technology that it must be' },
    via: {
        type: 'string',
        choices: VIAS,
        describe: 'the kernel interface to use; the first that answers unless told',
    },
} as const

export interface GuestArgs {
    readonly tee?: string | undefined
    readonly via?: Via | undefined
}

/** @throws AttestError what the driver says; ERR_NO_TEE where no driver takes this machine for its own */
export async function openGuest(args: GuestArgs, config = readConfig()): Promise<Guest> {
    const guest = await findGuest(args, config)
    if (guest) return guest
    const wanted = named(args)
    const rehearsed = wanted.find(({ emulator }) => emulator)
    throw driverError('ERR_NO_TEE', `this machine is no guest of ${wanted.map(({ title }) => title).join(' or ')}`, {
        hint: [
            '`guest-attest doctor` says what was looked for',
            ...(rehearsed ? [`\`guest-attest emulate --tee ${rehearsed.id} -- COMMAND\` rehearses one`] : []),
        ].join('; '),
    })
}

/** The same, with null where no driver takes this machine for its own. */
export async function findGuest(args: GuestArgs, config: Config = readConfig()): Promise<Guest | null> {
    const drivers = await Promise.all(named(args).map((plugin) => plugin.driver()))
    const doors = linuxDoors(config.get(DRIVERS_CONFIG))
    const guest = await detect(drivers, doors, args.via === undefined ? {} : { via: args.via })
    if (guest && EMULATED) note('the device is emulated: its reports prove nothing')
    return guest
}

const named = ({ tee }: GuestArgs): Plugin[] => PLUGINS.filter(({ id }) => tee === undefined || id === tee)
