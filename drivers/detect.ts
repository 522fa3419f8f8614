// Asks each driver that it is given whether this guest is its own.
// SPDX-License-Identifier: Apache-2.0

import type { Driver, Guest, Via } from './driver.ts'
import { driverError } from './errors.ts'
import type { Doors } from './linux/doors.ts'

/**
 * The one guest that this machine is, or null.
 * @throws AttestError what the driver of this guest's kind says; ERR_SEVERAL_TEES
 */
export async function detect(
    drivers: readonly Driver[],
    doors: Doors,
    options: { via?: Via } = {},
): Promise<Guest | null> {
    const guests: Guest[] = []
    try {
        for (const driver of drivers) {
            const guest = await driver.open(doors, options)
            if (guest) guests.push(guest)
        }
        const [guest, other] = guests
        if (other)
            throw driverError(
                'ERR_SEVERAL_TEES',
                `this guest answers as ${guests.map(({ tee }) => tee).join(' and as ')}`,
                {
                    hint: 'name the one that is meant with --tee',
                },
            )
        return guest ?? null
    } catch (error) {
        for (const guest of guests) guest.close()
        throw error
    }
}
