// The guest that this machine is: its driver, found among those of the plugins. The pin loads this as well: nothing here
// talks to a terminal.
// SPDX-License-Identifier: Apache-2.0

import type { Config } from '#core/config.ts'
import { AttestError } from '#core/errors.ts'
import { detect } from '#drivers/detect.ts'
import type { Guest, Via } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { DRIVERS_CONFIG, linuxDoors } from '#drivers/linux/doors.ts'
import type { Plugin } from '#plugins/plugin.ts'
import { PLUGINS, pluginOf } from '#plugins.ts'

export interface GuestArgs {
    readonly tee?: string | undefined
    readonly via?: Via | undefined
}

/** @throws AttestError what the driver says; ERR_NO_TEE where no driver takes this machine for its own */
export async function openGuest(args: GuestArgs, config: Config): Promise<Guest> {
    const guest = await findGuest(args, config)
    if (guest) return guest
    const wanted = named(args)
    const other = await otherGuest(args, config)
    const rehearsed = other ? undefined : wanted.find(({ emulator }) => emulator)
    const is = other ? `: it is one of ${other}` : ''
    throw driverError(
        'ERR_NO_TEE',
        `this machine is no guest of ${wanted.map(({ title }) => title).join(' or ')}${is}`,
        {
            hint: [
                '`guest-attest doctor` says what was looked for',
                ...(rehearsed ? [`\`guest-attest emulate --tee ${rehearsed.id} -- COMMAND\` rehearses one`] : []),
            ].join('; '),
        },
    )
}

/** For whoever needs proof of a guest that can give none. */
export function noEvidence({ tee }: Pick<Guest, 'tee'>): AttestError {
    const { title, launch } = pluginOf(tee)
    if (!launch)
        return driverError('ERR_NO_TEE', `a guest of ${title} cannot prove itself on this kernel`, {
            hint: '`guest-attest doctor` says what was looked for',
        })
    return driverError('ERR_NO_TEE', `this guest of ${title} has no key to prove itself with`, {
        hint: 'its owner registers it with --broker-url (`guest-attest broker launch register`), and each launch gives it one, for root; what was injected into this one: `guest-attest secrets list`',
    })
}

/** The same, with null where no driver takes this machine for its own. */
export async function findGuest(args: GuestArgs, config: Config): Promise<Guest | null> {
    const drivers = await Promise.all(named(args).map((plugin) => plugin.driver()))
    const doors = linuxDoors(config.get(DRIVERS_CONFIG))
    return detect(drivers, doors, args.via === undefined ? {} : { via: args.via })
}

/** What this machine is where it is no guest of the technology that was named, or null; in words, for a person. */
export async function otherGuest({ tee }: GuestArgs, config: Config): Promise<string | null> {
    if (tee === undefined) return null
    try {
        const guest = await findGuest({}, config)
        guest?.close()
        return guest && pluginOf(guest.tee).title
    } catch (error) {
        if (!(error instanceof AttestError)) throw error
        return `another technology (${error.message})`
    }
}

const named = ({ tee }: GuestArgs): Plugin[] => PLUGINS.filter(({ id }) => tee === undefined || id === tee)
