// The doors of a TDX guest, loaded when a guest is one.
// SPDX-License-Identifier: Apache-2.0

import type { DeviceLock } from './device-lock.ts'
import { type FirmwareLog, firmwareLog } from './firmware-log.ts'
import type { Ioctls } from './libc.ts'
import { type Measurements, measurements } from './measurements.ts'
import { type QuotingService, quotingService } from './quoting-service.ts'
import type { System } from './system.ts'
import { type TdxGuest, tdxGuest } from './tdx-guest.ts'

/** Every kernel interface that serves TDX alone. */
export interface TdxDoors {
    readonly tdxGuest: TdxGuest
    readonly quotingService: QuotingService
    readonly measurements: Measurements
    readonly firmwareLog: FirmwareLog
}

export const tdxDoors = (system: System, libc: () => Ioctls, lock: DeviceLock): TdxDoors => ({
    tdxGuest: tdxGuest(libc, lock),
    quotingService: quotingService(),
    measurements: measurements(system, lock),
    firmwareLog: firmwareLog(system.exists),
})
