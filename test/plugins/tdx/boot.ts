// A boot that was never booted: a few events of each kind, with the registers that they lead to.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import { guidBytes } from '#core/guid.ts'
import type { LoggedEvent, RegisterName } from '#plugins/tdx/event-log/ccel.ts'
import { replay } from '#plugins/tdx/event-log/event-log.ts'

export type Event = Omit<LoggedEvent, 'proven'>

export const sha384 = (bytes: Uint8Array): Buffer => createHash('sha384').update(bytes).digest()

export const event = (
    register: RegisterName,
    type: number,
    data: Buffer | string,
    measured: Buffer | string = data,
): Event => ({
    register,
    type,
    data: Buffer.from(data as string),
    digest: sha384(Buffer.from(measured as string)),
})

export const words = (...values: number[]): Buffer =>
    Buffer.concat(
        values.map((value) => {
            const out = Buffer.alloc(4)
            out.writeUInt32LE(value)
            return out
        }),
    )

/** A UEFI variable as firmware measures it. */
export const variable = (guid: string, name: string, value: Buffer): Buffer =>
    Buffer.concat([guidBytes(guid), words(name.length, 0, value.length, 0), Buffer.from(name, 'utf16le'), value])

export const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'

export const SECURE_BOOT = event('rtmr0', 0x80000001, variable(GLOBAL, 'SecureBoot', Buffer.of(1)))
export const SEPARATOR = event('rtmr0', 4, Buffer.alloc(4))
export const KERNEL = event('rtmr1', 0x80000003, Buffer.alloc(40), 'a kernel')
export const COMMAND_LINE = event('rtmr2', 0xd, 'kernel_cmdline: /vmlinuz ro quiet\0', '/vmlinuz ro quiet')

export const BOOT: readonly Event[] = [SECURE_BOOT, SEPARATOR, KERNEL, COMMAND_LINE]

export function registersOf(events: readonly Event[]): readonly [Buffer, Buffer, Buffer, Buffer] {
    const { rtmr0, rtmr1, rtmr2, rtmr3 } = replay({ events: events.map((one) => ({ ...one, proven: false })) })
    return [rtmr0, rtmr1, rtmr2, rtmr3]
}

/** The last digest that extended a register. */
export const digestOf = (register: RegisterName): Buffer =>
    BOOT.findLast((one) => one.register === register)?.digest ?? Buffer.alloc(48)
