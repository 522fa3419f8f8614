// The guest that this machine is, for a command of a person: the options that say how, and a word where it is emulated.
// SPDX-License-Identifier: Apache-2.0

import { EMULATED } from '#core/role.ts'
import { type Guest, VIAS } from '#drivers/driver.ts'
import { PLUGINS } from '#plugins.ts'
import * as find from './find-guest.ts'
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

/** @throws AttestError what the driver says; ERR_NO_TEE where no driver takes this machine for its own */
export const openGuest = async (args: find.GuestArgs): Promise<Guest> => told(await find.openGuest(args, readConfig()))

/** The same, with null where no driver takes this machine for its own. */
export const findGuest = async (args: find.GuestArgs): Promise<Guest | null> => {
    const guest = await find.findGuest(args, readConfig())
    return guest && told(guest)
}

/** What this machine is instead of a guest of the technology that was named, or null. */
export const otherGuest = (args: find.GuestArgs): Promise<string | null> => find.otherGuest(args, readConfig())

function told(guest: Guest): Guest {
    if (EMULATED) note('the guest is emulated: what it says proves nothing')
    return guest
}
