// Every door to the kernel of this guest, opened when it is used.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { section, setting, type Values } from '#core/config.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { type TsmReports, tsmReports } from './configfs-tsm.ts'
import { deviceLock } from './device-lock.ts'
import { libc } from './libc.ts'
import { type SecretArea, secretArea } from './secret-area.ts'
import type { SecretDoors } from './secret-doors.ts'
import { type SevDevice, sevDevice } from './sev-device.ts'
import type { SevGuest } from './sev-guest.ts'
import { type System, system } from './system.ts'
import { type TdxDevice, tdxDevice } from './tdx-device.ts'
import type { TdxDoors } from './tdx-doors.ts'

export interface Doors {
    readonly system: System
    readonly tsm: TsmReports
    readonly sevDevice: SevDevice
    readonly tdxDevice: TdxDevice
    readonly secretArea: SecretArea
    /** What follows is loaded by whoever has found that the guest is of that kind. */
    sevGuest(): Promise<SevGuest>
    tdx(): Promise<TdxDoors>
    secrets(): Promise<SecretDoors>
}

export const DRIVERS_CONFIG = section('drivers', {
    spacingMs: setting(
        () => z.int().check(z.gte(0), z.lte(60_000)),
        2000,
        'pause between two requests to the device, across processes: hosts throttle bursts, and a throttled driver loses its key',
    ),
})

export function linuxDoors({ spacingMs }: Values<typeof DRIVERS_CONFIG>): Doors {
    const lock = deviceLock(libc, RUN_FOLDER, spacingMs)
    const kernel = system()
    return {
        system: kernel,
        tsm: tsmReports(kernel, lock),
        sevDevice: sevDevice(),
        tdxDevice: tdxDevice(),
        secretArea: secretArea(kernel),
        sevGuest: async () => (await import('./sev-guest.ts')).sevGuest(libc, lock),
        tdx: async () => (await import('./tdx-doors.ts')).tdxDoors(kernel, libc, lock),
        secrets: async () => (await import('./secret-doors.ts')).secretDoors(kernel),
    }
}
