// The registers of the guest that this machine is, and how one is shown.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { MeasurementRegister, MeasurementRegisters } from '#drivers/driver.ts'
import { driverError } from '#drivers/errors.ts'
import { MEASUREMENTS_SINCE } from '#drivers/linux/measurements.ts'
import type { GuestArgs } from '../find-guest.ts'
import { openGuest } from '../guest.ts'

/** @throws AttestError ERR_NO_TEE where there is no guest, or none with registers */
export async function withRegisters<T>(
    args: GuestArgs,
    use: (registers: MeasurementRegisters) => Promise<T>,
): Promise<T> {
    const guest = await openGuest(args)
    try {
        if (!guest.registers)
            throw driverError('ERR_NO_TEE', `a guest of ${guest.tee} has no registers, or its kernel shows none`, {
                hint: `the RTMRs of TDX are files since Linux ${MEASUREMENTS_SINCE}`,
            })
        return await use(guest.registers)
    } finally {
        guest.close()
    }
}

/** As it stands in the JSON of every command. */
export const registerJson = ({ name, algorithm, value, extensible }: MeasurementRegister) => ({
    name,
    algorithm,
    value: toHex(value),
    extensible,
})
