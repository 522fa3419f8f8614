// Serves a device model through /dev/cuse: a process that answers until it is ended; its devices go with it.
// SPDX-License-Identifier: Apache-2.0

import { openSync } from 'node:fs'
import { messageOf } from '#core/errors.ts'
import { readMessages, sendReply } from './connection.ts'
import { cuseOperations } from './cuse.ts'
import { emulatorError } from './errors.ts'
import { type FaultPlan, noFaults } from './faults.ts'
import { gate } from './gate.ts'
import type { DeviceModel } from './model.ts'
import { session } from './session.ts'

/** Of the kernel: each open makes a device. */
const CUSE = '/dev/cuse'

/**
 * Serves every device of a model. What configfs-tsm would offer has no such door.
 * @returns when the last one has gone
 * @throws AttestError ERR_EMULATOR_MISSING
 */
export async function serveCuse(
    model: DeviceModel,
    complain: (text: string) => void,
    plan: FaultPlan = noFaults,
): Promise<void> {
    const die = () => process.kill(process.pid, 'SIGKILL')
    const way = gate(plan, () => performance.now(), die)
    const devices = Object.entries(model.devices).map(([name, device]) => {
        const fd = openCuse()
        const receive = session(cuseOperations(name, device, way), {
            send: (reply) => sendReply(fd, reply, complain),
            isBeingKilled: () => true,
            complain,
        })
        return readMessages(fd, receive)
    })
    await Promise.all(devices)
}

function openCuse(): number {
    try {
        return openSync(CUSE, 'r+')
    } catch (cause) {
        throw emulatorError('ERR_EMULATOR_MISSING', `${CUSE} cannot be opened: ${messageOf(cause)}`, {
            cause,
            hint: 'modprobe cuse, as root',
        })
    }
}
