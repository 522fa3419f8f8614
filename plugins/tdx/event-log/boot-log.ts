// The log of a boot as something to trust: to know guests whose firmware, boot loader and kernel were seen once.
// SPDX-License-Identifier: Apache-2.0

import { toHex } from '#core/bytes.ts'
import type { BootLog } from '#evidence/verifier.ts'
import { RTMRS } from './ccel.ts'
import { parseEventLog, replay } from './event-log.ts'
import { EV_NO_ACTION, textOf, typeName } from './event-types.ts'

/** @throws AttestError ERR_TDX_EVENT_LOG */
export function readBootLog(bytes: Buffer, measurement: string | null): BootLog {
    const log = parseEventLog(bytes)
    const registers = replay(log)
    return {
        events: log.events
            .filter(({ type, register }) => type !== EV_NO_ACTION && register !== 'mrtd')
            .map((event) => ({
                register: event.register,
                type: typeName(event.type),
                text: textOf(event),
                proven: event.proven,
                digest: toHex(event.digest),
            })),
        claims: {
            ...(measurement === null ? {} : { mrTd: measurement }),
            ...Object.fromEntries(RTMRS.map((name) => [name, toHex(registers[name])])),
        },
    }
}
